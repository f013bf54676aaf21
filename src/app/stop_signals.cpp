#include "app/stop_signals.h"

#include <array>
#include <atomic>
#include <csignal>

#include <unistd.h>

#include "core/error.h"

namespace mechsweep {

namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
std::atomic<int> received{0};
std::array<struct sigaction, kSignals.size()> previous;

void on_signal(int /*signal*/) {
  // Only calls that a signal handler may make.
  if (received.fetch_add(1) > 0) ::_exit(exit_status(ErrorKind::interrupted));
}

}  // namespace

StopSignals::StopSignals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &previous[i]);
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous[i], nullptr);
}

bool StopSignals::requested() {
  return received.load() > 0;
}

}  // namespace mechsweep
