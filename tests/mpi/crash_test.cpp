#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "core/error.h"
#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

using ::testing::HasSubstr;

constexpr int kUnit = 4;
constexpr int kUnits = 7;

std::string log_of(const sample::TemporaryFolder& folder) {
  const auto bytes = sample::read_all(folder.file("log"));
  return {bytes.begin(), bytes.end()};
}

/// Exit status as a shell gives it; ranks 0: without mpirun.
int launch(const sample::TemporaryFolder& folder, const std::string& how, int ranks = 0) {
  const std::string mpirun =
      ranks == 0 ? "" : fmt::format("{} --oversubscribe -n {} ", MECHSWEEP_MPIEXEC, ranks);
  const std::string command =
      fmt::format("exec timeout 60 {}{} {} {} {} > {} 2>&1", mpirun, MECHSWEEP_CRASH_VICTIM,
                  folder.file("a.h5"), kUnit, how, folder.file("log"));
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

JournalEntry entry_of(const sample::TemporaryFolder& folder) {
  return ResultsReader(folder.file("a.h5")).journal()[kUnit];
}

class Crash : public ::testing::TestWithParam<const char*> {};

TEST_P(Crash, MarksTheUnitAndTheThirdTimeQuarantinesIt) {
  const sample::TemporaryFolder folder;
  for (uint32_t time = 1; time <= kCrashesToQuarantine; ++time) {
    EXPECT_GE(launch(folder, GetParam()), 128) << log_of(folder);
    EXPECT_THAT(log_of(folder),
                HasSubstr(fmt::format("unit number 4 crashed rank 0 (time {} of 3", time)));
    const JournalEntry entry = entry_of(folder);
    EXPECT_EQ(entry.crashes, time);
    EXPECT_EQ(entry.attempt, time);
    EXPECT_EQ(entry.state, time < 3 ? UnitState::crashed : UnitState::quarantined);
  }
  EXPECT_EQ(launch(folder, GetParam()), kExitUnitsFailed) << log_of(folder);
  const Verification found = verify_file(folder.file("a.h5"));
  EXPECT_EQ(found.done, kUnits - 1);
  EXPECT_EQ(found.failed, 1);
  EXPECT_EQ(found.left, 0);
}

INSTANTIATE_TEST_SUITE_P(Signals, Crash,
                         ::testing::Values("segv", "bus", "fpe", "ill", "abort", "overflow",
                                           "helper"),
                         [](const auto& how) { return std::string(how.param); });

TEST(CrashedUnit, ComesLastSoThatTheRestIsDone) {
  const sample::TemporaryFolder folder;
  EXPECT_GE(launch(folder, "segv"), 128);
  EXPECT_GE(launch(folder, "segv"), 128);
  EXPECT_EQ(verify_file(folder.file("a.h5")).done, kUnits - 1);
}

TEST(CrashedUnit, IsDoneWhenItCrashesNoMore) {
  const sample::TemporaryFolder folder;
  EXPECT_GE(launch(folder, "segv"), 128);
  EXPECT_EQ(launch(folder, "never"), kExitDone) << log_of(folder);
  EXPECT_EQ(entry_of(folder).state, UnitState::done);
  EXPECT_EQ(verify_file(folder.file("a.h5")).done, kUnits);
}

TEST(CrashedUnit, IsMarkedByTheRankThatComputesIt) {
  const sample::TemporaryFolder folder;
  for (int time = 1; time <= 3; ++time) EXPECT_NE(launch(folder, "segv", 2), 0);
  const JournalEntry entry = entry_of(folder);
  EXPECT_EQ(entry.state, UnitState::quarantined);
  EXPECT_EQ(launch(folder, "segv", 2), kExitUnitsFailed) << log_of(folder);
}

TEST(FatalSignal, OfTheMainThreadDoesNotCount) {
  const sample::TemporaryFolder folder;
  EXPECT_EQ(launch(folder, "main"), 128 + SIGABRT) << log_of(folder);
  EXPECT_EQ(entry_of(folder).crashes, 0U);
}

/// Starts the victim alone and waits until its unit is under way.
pid_t start_waiting(const sample::TemporaryFolder& folder) {
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string file = folder.file("a.h5");
    ::execl(MECHSWEEP_CRASH_VICTIM, MECHSWEEP_CRASH_VICTIM, file.c_str(), "4", "wait", nullptr);
    ::_exit(127);
  }
  while (::access(folder.file("a.h5.waiting").c_str(), F_OK) != 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return child;
}

TEST(FatalSignal, FromAnotherProcessDoesNotCount) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGKILL}) {
    const sample::TemporaryFolder folder;
    const pid_t child = start_waiting(folder);
    ::kill(child, signal);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    EXPECT_EQ(entry_of(folder), JournalEntry{});
  }
}

TEST(Watchdog, EndsARankThatWaitsForOneThatHangs) {
  const sample::TemporaryFolder folder;
  EXPECT_EQ(launch(folder, "hang", 2), exit_status(ErrorKind::interrupted)) << log_of(folder);
  EXPECT_THAT(log_of(folder), HasSubstr("rank 0 hung for 1 s in a barrier of all ranks"));
}

}  // namespace
}  // namespace mechsweep
