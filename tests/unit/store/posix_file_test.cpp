#include "store/posix_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>

#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

using testing::HasSubstr;

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::span<const uint8_t> bytes_of_text(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

int64_t files_in(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

TEST(WriteWholeFile, ReplacesWhatWasThereAndLeavesNothingElse) {
  const sample::TemporaryFolder folder;
  const std::string path = folder.file("table.csv");
  std::ofstream(path) << "a longer text of an earlier time";
  std::ofstream(folder.file(".table.csv.abc123.tmp")) << "half of what a dead writer";
  write_whole_file(path, bytes_of_text("new"));
  EXPECT_EQ(content_of(path), "new");
  EXPECT_EQ(files_in(folder_of(path)), 1);
}

TEST(WriteWholeFile, LeavesWhatWasThereWhenItCannotWrite) {
  const sample::TemporaryFolder folder;
  const std::string path = folder.file("table.csv");
  std::ofstream(path) << "old";
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {100, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    write_whole_file(path, bytes_of_text(std::string(1000, 'x')));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    message = error.what();
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr(path));
  EXPECT_THAT(message, HasSubstr("raise the limit on the size of files"));
  EXPECT_EQ(content_of(path), "old");
  EXPECT_EQ(files_in(folder_of(path)), 1);
}

TEST(RemoveLeftOvers, TakesOnlyTemporaryNamesOfThatFile) {
  const sample::TemporaryFolder folder;
  const std::vector<std::string> others = {".b.h5.abc123.tmp", ".a.h5.abc12.tmp",
                                           ".a.h5.ABC123.tmp", "a.h5.abc123.tmp", ".a.h5.abc123"};
  for (const auto& name : others) std::ofstream(folder.file(name)) << name;
  std::ofstream(folder.file(".a.h5.abc123.tmp")) << "";
  remove_left_overs(folder.file("a.h5"));
  for (const auto& name : others) EXPECT_EQ(content_of(folder.file(name)), name);
  EXPECT_EQ(files_in(folder.file("")), std::ssize(others));
}

TEST(Remedy, SaysWhatToDo) {
  EXPECT_THAT(remedy(ENOSPC), HasSubstr("free some space"));
  EXPECT_THAT(remedy(EDQUOT), HasSubstr("quota"));
  EXPECT_THAT(remedy(EACCES), HasSubstr("permissions"));
  EXPECT_THAT(remedy(EIO), HasSubstr("check that disk"));
}

TEST(RemoveFile, AFileThatIsNotThereIsNoError) {
  const sample::TemporaryFolder folder;
  EXPECT_NO_THROW(remove_file(folder.file("nothing")));
  std::filesystem::create_directory(folder.file("folder"));
  EXPECT_THROW(remove_file(folder.file("folder")), Error);
}

}  // namespace
}  // namespace mechsweep
