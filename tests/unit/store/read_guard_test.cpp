#include "store/read_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <new>
#include <thread>

#include "core/error.h"
#include "sample_layout.h"
#include "store/open_results.h"

namespace mechsweep {
namespace {

using sample::TemporaryFolder;
using testing::HasSubstr;
using testing::StartsWith;

constexpr ReadLimits kTight{.seconds = 1, .memory_mib = 64};

/// The guard of this process, gone with the test.
class Guarded {
 public:
  explicit Guarded(ReadGuard::Read read, ReadLimits limits = kTight) {
    ReadGuard::start(limits, std::move(read));
  }
  ~Guarded() { ReadGuard::stop(); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
};

std::string answer(const std::string& path) {
  ReadGuard::forget(path);
  try {
    ReadGuard::check(path);
  } catch (const Error& error) {
    return fmt::format("{} {}", exit_status(error.kind()), error.what());
  }
  return "fine";
}

/// Uses memory up to its limit and gives it back.
void use_all_memory() {
  std::vector<std::unique_ptr<char[]>> blocks;
  for (;;) blocks.push_back(std::make_unique<char[]>(size_t{1} << 20));
}

void never_return() {
  for (volatile bool turning = true; turning;) {
  }
}

TEST(ReadGuard, ReportsWhatReadingDiesOf) {
  const Guarded guarded([](const std::string& path) {
    if (path == "crash") ::raise(SIGSEGV);
    if (path == "abort") std::abort();
    if (path == "spin") never_return();
    if (path == "sleep") ::pause();
    if (path == "memory") use_all_memory();
    if (path == "leave") ::_exit(0);
    if (path == "error") fail(ErrorKind::resource, "why not");
    if (path == "odd") throw std::out_of_range("odd");
  });
  EXPECT_EQ(answer("good"), "fine");
  EXPECT_THAT(answer("crash"), StartsWith("3 crash: reading it crashed"));
  EXPECT_THAT(answer("abort"), StartsWith("3 abort: reading it crashed"));
  EXPECT_THAT(answer("leave"), StartsWith("3 leave: reading it crashed"));
  EXPECT_THAT(answer("spin"), StartsWith("3 spin: reading it took longer than 1 s"));
  EXPECT_THAT(answer("sleep"), StartsWith("3 sleep: reading it took longer than 1 s"));
  EXPECT_THAT(answer("memory"), StartsWith("3 memory: reading it needed more than 64 MiB"));
  EXPECT_EQ(answer("error"), "4 why not");
  EXPECT_THAT(answer("odd"), StartsWith("3 odd: its parts do not fit together"));
  EXPECT_EQ(answer("good"), "fine") << "one bad file must not cost the next its check";
}

TEST(ReadGuard, TriesAFileOnceUntilItIsForgottenOrChanges) {
  const TemporaryFolder folder;
  const std::string log = folder.file("log");
  const std::string file = folder.file("a");
  std::ofstream(file) << "x";
  const Guarded guarded([&](const std::string&) { std::ofstream(log, std::ios::app) << "."; });
  const auto tried = [&] { return std::filesystem::file_size(log); };
  ReadGuard::check(file);
  ReadGuard::check(file);
  EXPECT_EQ(tried(), 1U);
  std::ofstream(file, std::ios::app) << "x";
  ReadGuard::check(file);
  EXPECT_EQ(tried(), 2U);
  ReadGuard::forget(file);
  ReadGuard::check(file);
  EXPECT_EQ(tried(), 3U);
}

/// Whether a process is there and not only waiting to be reaped.
bool is_alive(pid_t process) {
  std::ifstream stat(fmt::format("/proc/{}/stat", process));
  std::string text;
  std::getline(stat, text);
  return !text.empty() && text[text.rfind(')') + 2] != 'Z';
}

pid_t only_child() {
  std::ifstream children(fmt::format("/proc/self/task/{}/children", ::getpid()));
  pid_t child = -1;
  children >> child;
  return child;
}

TEST(ReadGuard, KeepsNothingOpenAndLivesThroughStopSignals) {
  const TemporaryFolder folder;
  std::ofstream held(folder.file("held"));
  const Guarded guarded([](const std::string&) {});
  const pid_t guard = only_child();
  ASSERT_GT(guard, 0);
  EXPECT_EQ(answer("x"), "fine");  // it has closed what it closes by now
  std::vector<std::string> targets;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", guard))) {
    targets.push_back(std::filesystem::read_symlink(entry.path()).string());
  }
  EXPECT_THAT(targets, testing::UnorderedElementsAre("/dev/null", "/dev/null", "/dev/null",
                                                     StartsWith("socket:")));
  for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP}) ::kill(guard, number);
  EXPECT_EQ(answer("y"), "fine");
}

TEST(ReadGuard, EndsWithItsProgramAndLeavesNoZombie) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t program = ::fork();
  if (program == 0) {
    ReadGuard::start(kTight, [](const std::string&) {});
    const pid_t guard = only_child();
    const bool told = ::write(ends[1], &guard, sizeof guard) == sizeof guard;
    while (told) ::pause();
    ::_exit(1);
  }
  pid_t guard = -1;
  ASSERT_EQ(::read(ends[0], &guard, sizeof guard), static_cast<ssize_t>(sizeof guard));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_TRUE(is_alive(guard));
  ::kill(program, SIGKILL);
  ::waitpid(program, nullptr, 0);
  for (int tries = 0; is_alive(guard) && tries < 500; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_FALSE(is_alive(guard));

  ReadGuard::start(kTight, [](const std::string&) {});
  EXPECT_GT(only_child(), 0);
  ReadGuard::stop();
  EXPECT_EQ(only_child(), -1) << "not even as a zombie";
}

TEST(ReadGuard, AKilledGuardIsAnErrorNotAHang) {
  ReadGuard::start(kTight, [](const std::string&) {});
  ::kill(only_child(), SIGKILL);
  EXPECT_THAT(answer("x"), HasSubstr("ended from outside"));
  ReadGuard::stop();
}

TEST(ReadGuard, PassesWholeFilesAndRefusesDamagedOnes) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  sample::write_file(path, sample::layout(2), {0, 1});
  const Guarded guarded(try_results_file, {.seconds = 60, .memory_mib = 1024});
  EXPECT_EQ(answer(path), "fine");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_THAT(answer(path), StartsWith("3 " + path));
}

}  // namespace
}  // namespace mechsweep
