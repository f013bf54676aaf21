#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "sample_layout.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

constexpr int kRounds = 20;

/// A child that writes all units over and over until it is killed; tells when it has written one.
[[noreturn]] void write_for_ever(const std::string& path, const FileLayout& layout, int tell) {
  std::signal(SIGPIPE, SIG_IGN);  // nobody may be listening any more
  ResultsWriter writer(path, layout);
  for (;;) {
    for (const int unit : sample::all_units(layout)) {
      writer.write_unit(unit, sample::result(layout, unit), sample::entry());
      if (tell >= 0 && ::write(tell, "x", 1) == 1) tell = -1;
    }
  }
}

TEST(Kill, ResultsSurviveSigkillAtAnyTime) {
  const sample::TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  std::mt19937 random(7);
  std::uniform_int_distribution<useconds_t> microseconds(0, 30000);
  int64_t done_in_all = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string path = folder.file(fmt::format("{}.h5", round));
    create_file_alone(path, layout);
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) write_for_ever(path, layout, ends[1]);
    // Every other child may be killed before it has written anything, also while it opens the file.
    char byte = 0;
    if (round % 2 == 1) {
      ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    }
    ::close(ends[0]);
    ::close(ends[1]);
    ::usleep(microseconds(random));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    const Verification found = verify_file(path);
    EXPECT_TRUE(found.damage.empty()) << found.damage.at(0);
    EXPECT_EQ(found.done + found.left, found.units);
    const ResultsReader reader(path);
    const auto journal = reader.journal();
    for (const int unit : sample::all_units(layout)) {
      if (journal[static_cast<size_t>(unit)].state != UnitState::done) continue;
      ++done_in_all;
      EXPECT_EQ(reader.read_payload(unit), sample::payload(layout, unit));
    }
    std::filesystem::remove(path);
  }
  EXPECT_GE(done_in_all, kRounds / 2);
}

TEST(Kill, AResumedFileIsByteForByteThatOfAnUninterruptedRun) {
  const sample::TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  sample::write_file(folder.file("whole.h5"), layout, sample::all_units(layout));
  const std::string path = folder.file("killed.h5");
  create_file_alone(path, layout);
  const pid_t child = ::fork();
  if (child == 0) {
    ResultsWriter writer(path, layout);
    for (const int unit : {3, 0, 5}) {
      writer.write_unit(unit, sample::result(layout, unit), sample::entry());
    }
    ::raise(SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  const auto journal = ResultsReader(path).journal();
  ResultsWriter writer(path, layout);
  for (const int unit : sample::all_units(layout)) {
    const bool is_done = journal[static_cast<size_t>(unit)].state == UnitState::done;
    EXPECT_EQ(is_done, unit == 0 || unit == 3 || unit == 5);
    if (!is_done) writer.write_unit(unit, sample::result(layout, unit), sample::entry());
  }
  writer.close();
  EXPECT_EQ(sample::read_all(path), sample::read_all(folder.file("whole.h5")));
}

}  // namespace
}  // namespace mechsweep
