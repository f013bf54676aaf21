#include "store/lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>

#include <csignal>

#include "core/error.h"
#include "core/json.h"
#include "sample_layout.h"

namespace mechsweep {
namespace {

using sample::TemporaryFolder;

/// A child process that takes the lock and then waits for its end.
class Holder {
 public:
  explicit Holder(const std::string& path) {
    int ends[2];
    if (::pipe(ends) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      const auto lock = FileLock::acquire(path);
      const bool told = ::write(ends[1], "x", 1) == 1;
      while (told) ::pause();
      std::_Exit(1);
    }
    ::close(ends[1]);
    char byte = 0;
    holds_ = ::read(ends[0], &byte, 1) == 1;
    ::close(ends[0]);
  }
  ~Holder() { kill(); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool holds() const { return holds_; }

 private:
  pid_t pid_ = -1;
  bool holds_ = false;
};

TEST(CompanionPath, ReplacesTheExtension) {
  EXPECT_EQ(companion_path("r/a.h5", ".meta"), "r/a.meta");
  EXPECT_EQ(companion_path("a.b.h5", ".summary.h5"), "a.b.summary.h5");
  EXPECT_EQ(companion_path("r/a", ".lock"), "r/a.lock");
  EXPECT_EQ(companion_path("r/.h5", ".lock"), "r/.h5.lock");
}

TEST(FileLock, SaysWhoHoldsItAndRefusesASecondProcess) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  const Holder holder(path);
  ASSERT_TRUE(holder.holds());
  const auto bytes = sample::read_all(folder.file("a.lock"));
  const Json owner = Json::parse(bytes);
  EXPECT_EQ(owner.at("pid"), holder.pid());
  for (const char* name : {"job", "host", "boot_id", "process_start", "started"}) {
    EXPECT_TRUE(owner.at(name).is_string()) << name;
  }
  try {
    const auto lock = FileLock::acquire(path);
    ADD_FAILURE() << "the lock was given twice";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("process {}", holder.pid())));
    EXPECT_THAT(error.what(), testing::HasSubstr(folder.file("a.lock")));
  }
}

TEST(FileLock, OtherRanksShareIt) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  auto starter = FileLock::acquire(path);
  auto rank = std::make_unique<FileLock>(path);
  starter.reset();
  // One rank is still there, so the sweep is not over for anybody else.
  EXPECT_THROW((void)FileLock::acquire(path), Error);
  rank.reset();
  EXPECT_NO_THROW((void)FileLock::acquire(path));
}

TEST(FileLock, OfADeadOwnerIsTakenOver) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  Holder holder(path);
  ASSERT_TRUE(holder.holds());
  holder.kill();
  const auto lock = FileLock::acquire(path);
  EXPECT_EQ(Json::parse(sample::read_all(folder.file("a.lock"))).at("pid"), ::getpid());
}

TEST(FileLock, AnUnreadableOwnerIsNoOwner) {
  const TemporaryFolder folder;
  for (const char* text : {"", "not json", "[]", R"({"pid": "x", "host": 3})"}) {
    std::ofstream(folder.file("a.lock")) << text;
    EXPECT_NO_THROW((void)FileLock::acquire(folder.file("a.h5"))) << text;
  }
}

TEST(FileLock, ReleaseRemovesTheFileAndTwiceIsNoError) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  { const auto lock = FileLock::acquire(path); }
  FileLock::release(path);
  EXPECT_FALSE(std::filesystem::exists(folder.file("a.lock")));
  EXPECT_NO_THROW(FileLock::release(path));
}

TEST(FileLock, MissingFolderIsAResourceError) {
  const TemporaryFolder folder;
  EXPECT_THROW((void)FileLock::acquire(folder.file("no/a.h5")), Error);
}

TEST(Writer, DoesNotBlockReadersThatLockLikeH5py) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  const std::string path = folder.file("a.h5");
  create_file_alone(path, layout);
  const auto lock = FileLock::acquire(path);
  ResultsWriter writer(path, layout);
  writer.write_unit(0, sample::result(layout, 0), sample::entry());
  // HDF5 takes this lock for reading and refuses the file when it does not get it; an exclusive one
  // shows that nobody holds any.
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  EXPECT_EQ(::flock(descriptor, LOCK_EX | LOCK_NB), 0);
  // And a reader's lock does not stop the writer either.
  EXPECT_NO_THROW(writer.write_unit(1, sample::result(layout, 1), sample::entry()));
  EXPECT_NO_THROW(ResultsReader{path});
  ::close(descriptor);
}

}  // namespace
}  // namespace mechsweep
