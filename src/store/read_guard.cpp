#include "store/read_guard.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "store/posix_file.h"

namespace mechsweep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLongestMessage = 16384;
constexpr rlim_t kLongestOutput = rlim_t{256} << 20;  // notes of its own; it writes nothing else
constexpr int kGuardDescriptor = 3;
constexpr std::array kIgnoredSignals = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2,
                                        SIGHUP, SIGQUIT, SIGPIPE};

/// First byte of an answer.
enum class Verdict : char { fine = 'f', error = 'e', crashed = 'c', slow = 't', memory = 'm' };

struct Running {
  pid_t process = -1;
  FileDescriptor socket;
  ReadLimits limits;
};
using FileIdentity = std::tuple<dev_t, ino_t, off_t>;

Running& guard() {
  static Running running;
  return running;
}

std::map<std::string, FileIdentity>& passed() {
  static std::map<std::string, FileIdentity> files;
  return files;
}

FileIdentity identity_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_size};
}

int milliseconds_until(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  return std::max(0, static_cast<int>(left.count()));
}

// ---- in the guarded processes: no way back into the program, so _exit wherever something fails

void set_limit(int resource, rlim_t soft, rlim_t hard) {
  const rlimit limit{soft, hard};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) ::_exit(1);
}

/// Address space of this process now, in bytes.
rlim_t address_space() {
  char text[64] = {};
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0 || ::read(file, text, sizeof text - 1) <= 0) ::_exit(1);
  ::close(file);
  return std::strtoull(text, nullptr, 10) * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

/// Ends with its parent, whatever ends that.
void die_with(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
}

std::string word_of(Verdict verdict) {
  return {static_cast<char>(verdict)};
}

/// Error kinds travel as a digit.
std::string answer_of(const ReadGuard::Read& read, const std::string& path) {
  try {
    read(path);
  } catch (const Error& error) {
    return fmt::format("{}{}{}", static_cast<char>(Verdict::error), static_cast<int>(error.kind()),
                       error.what());
  } catch (const std::bad_alloc&) {
    return word_of(Verdict::memory);
  } catch (const std::exception& error) {
    return fmt::format("{}{}{}: its parts do not fit together ({}); the file is damaged",
                       static_cast<char>(Verdict::error), static_cast<int>(ErrorKind::input), path,
                       error.what());
  }
  return word_of(Verdict::fine);
}

/// The process that one file is read in.
[[noreturn]] void read_one_file(const ReadGuard::Read& read, const ReadLimits& limits,
                                const std::string& path, int answer_to, pid_t parent) {
  die_with(parent);
  const auto seconds = static_cast<rlim_t>(limits.seconds);
  set_limit(RLIMIT_CPU, seconds, seconds + 1);
  const rlim_t memory = address_space() + (static_cast<rlim_t>(limits.memory_mib) << 20);
  set_limit(RLIMIT_AS, memory, memory);
  set_limit(RLIMIT_FSIZE, kLongestOutput, kLongestOutput);
  const std::string answer = answer_of(read, path).substr(0, kLongestMessage);
  ::_exit(::write(answer_to, answer.data(), answer.size()) == std::ssize(answer) ? 0 : 1);
}

/// What a reader that gave no answer died of.
Verdict verdict_of(int status) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) return Verdict::slow;
  return Verdict::crashed;
}

/// Forks a reader and waits for its answer, its end, the limit, or the end of the program.
std::string try_file(const ReadGuard::Read& read, const ReadLimits& limits,
                     const std::string& path) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) ::_exit(1);
  const pid_t self = ::getpid();
  const pid_t reader = ::fork();
  if (reader < 0) ::_exit(1);
  if (reader == 0) read_one_file(read, limits, path, ends[1], self);
  ::close(ends[1]);
  const auto end = Clock::now() + std::chrono::seconds(limits.seconds);
  std::string answer;
  bool in_time = true;
  for (;;) {
    std::array<pollfd, 2> waiting{{{ends[0], POLLIN, 0}, {kGuardDescriptor, POLLRDHUP, 0}}};
    const int ready = ::poll(waiting.data(), waiting.size(), milliseconds_until(end));
    if (ready < 0 && errno == EINTR) continue;
    in_time = ready > 0;
    if (!in_time) break;
    if (waiting[1].revents != 0) ::_exit(0);  // the program has gone, and the reader goes with us
    char part[4096];
    const ssize_t got = ::read(ends[0], part, sizeof part);
    if (got <= 0) break;
    answer.append(part, static_cast<size_t>(got));
  }
  ::close(ends[0]);
  if (!in_time) ::kill(reader, SIGKILL);
  int status = 0;
  // One that hangs in the kernel cannot be waited for; it is reaped when this process ends.
  const int how = in_time ? 0 : WNOHANG;
  for (int tries = 0; ::waitpid(reader, &status, how) == 0 && tries < 100; ++tries) {
    ::usleep(10'000);
  }
  if (!in_time) return word_of(Verdict::slow);
  return answer.empty() ? word_of(verdict_of(status)) : answer;
}

void close_all_but(int kept) {
  const int null = ::open("/dev/null", O_RDWR);
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (null < 0 || ::dup2(null, descriptor) < 0) ::_exit(1);
  }
  if (kept != kGuardDescriptor && ::dup2(kept, kGuardDescriptor) < 0) ::_exit(1);
  ::fcntl(kGuardDescriptor, F_SETFD, FD_CLOEXEC);
  if (::close_range(kGuardDescriptor + 1, ~0U, 0) == 0) return;
  const int64_t limit = std::min<int64_t>(::sysconf(_SC_OPEN_MAX), 65536);
  for (int descriptor = kGuardDescriptor + 1; descriptor < limit; ++descriptor) {
    ::close(descriptor);
  }
}

[[noreturn]] void serve(const ReadGuard::Read& read, const ReadLimits& limits, int socket,
                        pid_t parent) {
  for (const int number : kIgnoredSignals) std::signal(number, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);
  die_with(parent);
  // Not "mechsweep": whoever looks for the program's processes by name means the ranks.
  ::prctl(PR_SET_NAME, "read-guard");
  close_all_but(socket);
  set_limit(RLIMIT_CORE, 0, 0);
  std::array<char, 8192> path{};
  for (;;) {
    const ssize_t got = ::recv(kGuardDescriptor, path.data(), path.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) ::_exit(0);
    const std::string answer =
        try_file(read, limits, std::string(path.data(), static_cast<size_t>(got)));
    if (::send(kGuardDescriptor, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) ::_exit(0);
  }
}

// ---- in the program

[[noreturn]] void fail_without_guard(const std::string& path) {
  fail(ErrorKind::resource,
       "{}: the process that tries results files first has been ended from outside; start again",
       path);
}

std::string ask(const std::string& path) {
  const Running& running = guard();
  if (::send(running.socket.get(), path.data(), path.size(), MSG_NOSIGNAL) < 0) {
    fail_without_guard(path);
  }
  // The guard itself keeps the limit; it is given up only when it has been stopped.
  const auto end = Clock::now() + std::chrono::seconds(running.limits.seconds + 30);
  for (;;) {
    pollfd waiting{running.socket.get(), POLLIN, 0};
    const int ready = ::poll(&waiting, 1, milliseconds_until(end));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return word_of(Verdict::slow);
    std::array<char, kLongestMessage> answer{};
    const ssize_t got = ::recv(running.socket.get(), answer.data(), answer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_without_guard(path);
    return {answer.data(), static_cast<size_t>(got)};
  }
}

}  // namespace

ReadLimits read_limits_from_environment() {
  ReadLimits limits;
  const char* text = std::getenv("MECHSWEEP_READ_SECONDS");
  if (text == nullptr) return limits;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, limits.seconds);
  if (error != std::errc() || stop != end || limits.seconds < 1 || limits.seconds > 86400) {
    fail(ErrorKind::usage,
         "the environment variable MECHSWEEP_READ_SECONDS is no number from 1 to 86400");
  }
  return limits;
}

void ReadGuard::start(const ReadLimits& limits, const Read& read) {
  ensure(!is_running(), "one guard is enough");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    fail(ErrorKind::resource, "no socket can be made: {}", errno_text(errno));
  }
  FileDescriptor ours(ends[0]);
  const FileDescriptor theirs(ends[1]);
  const pid_t self = ::getpid();
  const pid_t process = ::fork();
  if (process < 0) fail(ErrorKind::resource, "no process can be made: {}", errno_text(errno));
  if (process == 0) serve(read, limits, theirs.get(), self);
  guard() = {process, std::move(ours), limits};
}

void ReadGuard::stop() {
  if (!is_running()) return;
  const pid_t process = guard().process;
  guard() = {};
  while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool ReadGuard::is_running() {
  return guard().process > 0;
}

void ReadGuard::check(const std::string& path) {
  if (!is_running() || has_passed(path)) return;
  const FileIdentity identity = identity_of(path);
  const std::string answer = ask(path);
  const ReadLimits& limits = guard().limits;
  switch (static_cast<Verdict>(answer.front())) {
    case Verdict::fine:
      passed()[path] = identity;
      return;
    case Verdict::slow:
      fail(ErrorKind::input,
           "{}: reading it took longer than {} s: the file is damaged, or its file system is very "
           "slow (the environment variable MECHSWEEP_READ_SECONDS allows more)",
           path, limits.seconds);
    case Verdict::memory:
      fail(ErrorKind::input, "{}: reading it needed more than {} MiB: the file is damaged", path,
           limits.memory_mib);
    case Verdict::error:
      if (answer.size() > 2) {
        throw Error(static_cast<ErrorKind>(answer[1] - '0'), answer.substr(2));
      }
      break;
    case Verdict::crashed:
      break;
  }
  fail(ErrorKind::input, "{}: reading it crashed: the file is damaged", path);
}

void ReadGuard::trust(const std::string& path) {
  passed()[path] = identity_of(path);
}

bool ReadGuard::has_passed(const std::string& path) {
  const auto found = passed().find(path);
  return found != passed().end() && found->second == identity_of(path);
}

void ReadGuard::forget(const std::string& path) {
  passed().erase(path);
}

}  // namespace mechsweep
