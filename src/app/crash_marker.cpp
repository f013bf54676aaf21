#include "app/crash_marker.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>

#include <unistd.h>

#include "core/error.h"

namespace mechsweep {

namespace {

constexpr std::array kSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
std::array<struct sigaction, kSignals.size()> previous;

struct Armed {
  CrashMark mark;
  std::array<char, 512> sentence{};
  size_t length = 0;
};
Armed armed;
// Written after, and cleared before, `armed` changes: the handler may run at any moment.
std::atomic<bool> is_armed{false};

/// A stack overflow leaves no room for the handler on the thread's own stack.
class SignalStack {
 public:
  SignalStack() {
    stack_t stack{};
    stack.ss_sp = bytes_.data();
    stack.ss_size = bytes_.size();
    ::sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
  }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  std::array<char, 65536> bytes_{};
};

bool is_own(const siginfo_t& info) {
  // The kernel's own faults have a positive code; abort() and raise() send from this process.
  return info.si_code > 0 || info.si_pid == ::getpid();
}

/// Only calls that a signal handler may make.
void write_mark() {
  const CrashMark& mark = armed.mark;
  if (mark.offset >= 0) {
    (void)!::pwrite(mark.descriptor, mark.bytes.data(), mark.size, mark.offset);
  } else {
    (void)!::write(mark.descriptor, mark.bytes.data(), mark.size);
  }
  ::fdatasync(mark.descriptor);
  (void)!::write(STDERR_FILENO, armed.sentence.data(), armed.length);
}

void on_fatal(int signal, siginfo_t* info, void* /*context*/) {
  const bool is_main = ::gettid() == ::getpid();
  if (is_own(*info) && !is_main && is_armed.exchange(false)) write_mark();
  for (size_t i = 0; i < kSignals.size(); ++i)
    if (kSignals[i] == signal) ::sigaction(signal, &previous[i], nullptr);
  // Comes when this handler returns: a core dump and a backtrace, if there were to be any.
  ::raise(signal);
}

}  // namespace

CrashMarker::CrashMarker() {
  struct sigaction action {};
  action.sa_sigaction = on_fatal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &previous[i]);
}

CrashMarker::~CrashMarker() {
  disarm();
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &previous[i], nullptr);
}

void CrashMarker::arm(const CrashMark& mark, const std::string& sentence) {
  thread_local const SignalStack stack;
  ensure(!is_armed.load(), "one unit is computed at a time");
  armed.mark = mark;
  armed.length = std::min(sentence.size(), armed.sentence.size() - 1);
  std::memcpy(armed.sentence.data(), sentence.data(), armed.length);
  armed.sentence[armed.length++] = '\n';
  is_armed.store(true);
}

void CrashMarker::disarm() {
  is_armed.store(false);
}

}  // namespace mechsweep
