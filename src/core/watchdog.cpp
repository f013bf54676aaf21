#include "core/watchdog.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include <unistd.h>

#include "core/error.h"

namespace mechsweep {

namespace {

using Clock = std::chrono::steady_clock;  // stands still while the machine sleeps
constexpr std::chrono::milliseconds kLookInterval{200};

struct OpenWatch {
  Clock::time_point deadline;
  double limit_s = 0.0;
  std::string_view what;
  std::source_location where;
};

std::string_view file_name(const std::source_location& where) {
  const std::string_view path = where.file_name();
  return path.substr(path.rfind('/') + 1);
}

/// The one watchdog there is. Its thread sleeps while nothing is watched.
struct Kennel {
  explicit Kennel(int rank_number) : rank(rank_number), thread([this] { look_around(); }) {}
  ~Kennel() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_one();
    thread.join();
  }
  Kennel(const Kennel&) = delete;
  Kennel& operator=(const Kennel&) = delete;

  void look_around() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      if (open == 0) {
        wake.wait(lock);
        continue;
      }
      wake.wait_for(lock, kLookInterval);
      const auto now = Clock::now();
      for (const auto& watch : watches)
        if (watch && watch->deadline < now) end_process(*watch);
    }
  }

  [[noreturn]] void end_process(const OpenWatch& watch) const {
    // stdio and logging may be what hangs, or be locked by who does.
    const std::string line = fmt::format(
        "mechsweep: critical: rank {} hung for {:g} s in {} ({}:{}) and is ended; what is "
        "journalled "
        "is safe: start the same command again to resume (execution.watchdog has the limits)\n",
        rank, watch.limit_s, watch.what, file_name(watch.where), watch.where.line());
    (void)!::write(STDERR_FILENO, line.data(), line.size());
    ::_exit(exit_status(ErrorKind::interrupted));
  }

  int rank;
  std::mutex mutex;
  std::condition_variable wake;
  std::array<std::optional<OpenWatch>, 64> watches;
  int open = 0;
  bool stopping = false;
  std::thread thread;
};

std::unique_ptr<Kennel> kennel;
WatchdogLimits limits;
thread_local int open_here = 0;  ///< watches of this thread

double limit_of(Waiting waiting) {
  switch (waiting) {
    case Waiting::collective:
      return limits.collective_s;
    case Waiting::io:
      return limits.io_s;
    case Waiting::loading:
      return limits.loading_s;
  }
  return limits.loading_s;
}

}  // namespace

Watchdog::Watchdog(int rank) {
  ensure(kennel == nullptr, "one watchdog at a time");
  kennel = std::make_unique<Kennel>(rank);
}

Watchdog::~Watchdog() {
  kennel.reset();
  limits = {};
}

void Watchdog::set_limits(const WatchdogLimits& wanted) {
  limits = wanted;
}

Watchdog::Watch::Watch(Waiting waiting, std::string_view what, std::source_location where) {
  if (!kennel || (waiting == Waiting::collective && open_here > 0)) return;
  const double limit_s = limit_of(waiting);
  const auto limit =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limit_s));
  const std::lock_guard lock(kennel->mutex);
  for (size_t i = 0; i < kennel->watches.size(); ++i) {
    if (kennel->watches[i]) continue;
    kennel->watches[i] = OpenWatch{Clock::now() + limit, limit_s, what, where};
    number_ = static_cast<int>(i);
    ++open_here;
    if (++kennel->open == 1) kennel->wake.notify_one();
    return;
  }
  // More than any call depth of ours times our threads: this one goes unwatched.
}

Watchdog::Watch::~Watch() {
  if (number_ < 0 || !kennel) return;
  --open_here;
  const std::lock_guard lock(kennel->mutex);
  kennel->watches[static_cast<size_t>(number_)].reset();
  --kennel->open;
}

}  // namespace mechsweep
