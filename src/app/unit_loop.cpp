#include "app/unit_loop.h"

#include <chrono>
#include <ctime>
#include <deque>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>

#include <spdlog/spdlog.h>

#include "app/crash_marker.h"
#include "app/progress.h"
#include "app/stop_signals.h"
#include "app/unit_worker.h"
#include "core/watchdog.h"

namespace mechsweep {

namespace {

// Kinds of messages.
constexpr int kRequest = 0;    ///< rank -> 0: give me a unit
constexpr int kAssign = 1;     ///< 0 -> rank
constexpr int kDone = 2;       ///< rank -> 0: journalled; aux: 1 if it succeeded
constexpr int kDropped = 3;    ///< rank -> 0: a claimed unit was given back
constexpr int kInterrupt = 4;  ///< rank -> 0: a signal or the stop file was seen here
constexpr int kStop =
    5;  ///< 0 -> rank: no more units; aux: 1 when interrupted, unit: failures so far
constexpr int kGoodbye = 6;  ///< rank -> 0: nothing is left to do here
constexpr int kLeave = 7;    ///< 0 -> rank: nobody has anything left to do

/// One unit is computed while the next one waits, so that the way to rank 0 and back costs nothing.
constexpr int kHeldUnits = 2;
constexpr double kPollSeconds = 0.001;
constexpr double kStopFileSeconds = 1.0;

using Clock = std::chrono::steady_clock;

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Rank 0's part: answers requests from the policy.
class Dispatcher {
 public:
  Dispatcher(const UnitLoop& loop, double total_flops)
      : loop_(loop),
        policy_(*loop.policy),
        progress_(loop.what, static_cast<int64_t>(loop.unit_flops.size()),
                  static_cast<int64_t>(loop.unit_flops.size()) - loop.policy->units_left(),
                  total_flops, loop.done_flops),
        claimed_s_(static_cast<size_t>(loop.world.size()), 0.0),
        refused_(static_cast<size_t>(loop.world.size()), 0) {}

  void handle(int from, const Message& message) {
    const auto unit = static_cast<int>(message.unit);
    if (message.kind == kDone || message.kind == kDropped) {
      forget_claim(from, unit);
      ask_again(from);
    }
    switch (message.kind) {
      case kRequest:
        requests_.push_back(from);
        break;
      case kDone:
        policy_.finished(from, unit, message.aux == 1, message.seconds);
        progress_.unit_done(loop_.unit_flops[unit], message.aux == 1);
        if (message.aux != 1) ++failed_;
        break;
      case kDropped:
        policy_.drop(unit);
        break;
      case kInterrupt:
        interrupted_ = true;
        break;
      case kGoodbye:
        if (++goodbyes_ == loop_.world.size()) tell_all({.kind = kLeave});
        break;
      default:
        ensure(false, "rank 0 got a message that is not for it");
    }
  }

  /// Answers what can be answered now.
  void serve() {
    if (interrupted_ || policy_.all_done()) stop();
    if (!stopped_ && policy_.changes() != seen_changes_)
      for (int rank = 0; rank < loop_.world.size(); ++rank) ask_again(rank);
    seen_changes_ = policy_.changes();
    for (; !requests_.empty(); requests_.pop_front()) {
      const int rank = requests_.front();
      if (const auto unit = policy_.next(rank, seconds_left(rank))) {
        const double predicted_s = policy_.predicted_s(*unit);
        claims_[*unit] = predicted_s;
        claimed_s_[static_cast<size_t>(rank)] += predicted_s;
        loop_.world.send(rank, {.kind = kAssign, .unit = *unit});
      } else {
        ++refused_[static_cast<size_t>(rank)];
        ++refused_in_all_;
      }
    }
    if (is_out_of_time()) {
      spdlog::info("no unit that is left is predicted to end before the job does; stopping");
      interrupted_ = true;
      stop();
    }
    progress_.show();
  }

  void end() { progress_.finish(); }

 private:
  void tell_all(const Message& message) {
    for (int rank = 0; rank < loop_.world.size(); ++rank) loop_.world.send(rank, message);
  }

  void forget_claim(int rank, int unit) {
    claimed_s_[static_cast<size_t>(rank)] -= claims_.at(unit);
    claims_.erase(unit);
  }

  /// What the policy refused a rank is not asked for at every turn: most ranks have a request open
  /// most of the time.
  void ask_again(int rank) {
    int& refused = refused_[static_cast<size_t>(rank)];
    refused_in_all_ -= refused;
    for (; refused > 0; --refused) requests_.push_back(rank);
  }

  /// Until the job ends, less what the rank has still to do before another unit.
  [[nodiscard]] double seconds_left(int rank) const {
    if (!loop_.end_by) return std::numeric_limits<double>::infinity();
    return std::max(0.0, *loop_.end_by - unix_now() - claimed_s_[static_cast<size_t>(rank)]);
  }

  /// Whoever asks gets nothing though there is something: it would not end in time.
  [[nodiscard]] bool is_out_of_time() const {
    return loop_.end_by && !stopped_ && claims_.empty() && refused_in_all_ > 0 &&
           !policy_.all_done() && !policy_.waiting();
  }

  void stop() {
    requests_.clear();
    if (stopped_) return;
    stopped_ = true;
    tell_all({.kind = kStop, .unit = failed_, .aux = interrupted_ ? 1 : 0});
  }

  const UnitLoop& loop_;
  DispatchPolicy& policy_;
  Progress progress_;
  std::deque<int> requests_;
  std::map<int, double> claims_;   ///< units in flight and the seconds that they were to take
  std::vector<double> claimed_s_;  ///< by rank, of its units in flight
  std::vector<int> refused_;       ///< by rank, requests that got nothing so far
  int64_t refused_in_all_ = 0;
  int64_t seen_changes_ = 0;  ///< of the policy, when all ranks last asked again
  int64_t failed_ = 0;
  int goodbyes_ = 0;
  bool interrupted_ = false;
  bool stopped_ = false;
};

/// What every rank does: asks for units, computes, writes, reports.
class Worker {
 public:
  explicit Worker(const UnitLoop& loop)
      : loop_(loop),
        worker_(
            loop.compute, [this](int unit) { arm_crash_marker(unit); },
            [] { CrashMarker::disarm(); }) {
    for (int i = 0; i < kHeldUnits; ++i) request();
  }

  void handle(const Message& message) {
    if (message.kind == kAssign && !stopping_) {
      worker_.add(static_cast<int>(message.unit));
    } else if (message.kind == kAssign) {
      loop_.world.send(0, {.kind = kDropped, .unit = message.unit});
    } else if (message.kind == kLeave) {
      left_ = true;
    } else if (message.kind == kStop) {
      stopping_ = true;
      outcome_ = {.failed = message.unit, .interrupted = message.aux == 1};
      for (const int unit : worker_.drop_waiting())
        loop_.world.send(0, {.kind = kDropped, .unit = unit});
    }
  }

  /// Writes what has been computed; waits a moment for it.
  void step() {
    worker_.hand_over(kPollSeconds, [this](const FinishedUnit& unit) { record(unit); });
    watch_for_stop();
    if (seconds_since(synced_) >= loop_.sync_interval_s) {
      const Watchdog::Watch watch(Waiting::io, "syncing the results");
      loop_.writer.sync();
      synced_ = Clock::now();
    }
    if (stopping_ && !said_goodbye_ && worker_.held() == 0) {
      said_goodbye_ = true;
      loop_.world.send(0, {.kind = kGoodbye});
    }
  }

  [[nodiscard]] bool finished() const { return left_; }
  [[nodiscard]] LoopOutcome outcome() const { return outcome_; }

 private:
  void request() { loop_.world.send(0, {.kind = kRequest}); }

  /// On the thread that computes.
  void arm_crash_marker(int unit) const {
    spdlog::debug("rank {} begins unit {}", loop_.world.rank(),
                  loop_.unit_names[static_cast<size_t>(unit)]);
    const uint32_t crashes = loop_.crashes[static_cast<size_t>(unit)] + 1;
    const bool last = crashes >= kCrashesToQuarantine;
    const CrashMark mark =
        loop_.writer.crash_mark(unit, {.state = last ? UnitState::quarantined : UnitState::crashed,
                                       .attempt = loop_.attempt,
                                       .rank = static_cast<uint32_t>(loop_.world.rank()),
                                       .finished_unix_s = std::time(nullptr),
                                       .crashes = crashes});
    CrashMarker::arm(
        mark, fmt::format("mechsweep: critical: unit {} crashed rank {} (time {} of {}{}): start "
                          "the same command again to {}",
                          loop_.unit_names[static_cast<size_t>(unit)], loop_.world.rank(), crashes,
                          kCrashesToQuarantine, last ? ", so it is quarantined" : "",
                          last ? "go on without it" : "go on"));
  }

  void record(const FinishedUnit& finished) {
    if (finished.fatal) throw Error(*finished.fatal);
    const Watchdog::Watch watch(Waiting::io, "writing a unit");
    JournalEntry entry{.attempt = loop_.attempt,
                       .rank = static_cast<uint32_t>(loop_.world.rank()),
                       .seconds = finished.elapsed_s,
                       .finished_unix_s = std::time(nullptr),
                       .crashes = loop_.crashes[static_cast<size_t>(finished.unit)]};
    if (finished.failure) {
      spdlog::error("unit {} failed: {}", loop_.unit_names[finished.unit], *finished.failure);
      entry.state = UnitState::failed;
      loop_.writer.write_state(finished.unit, entry);
    } else if (finished.result.skipped) {
      entry.state = UnitState::skipped;
      loop_.writer.write_state(finished.unit, entry);
    } else {
      entry.state = UnitState::done;
      if (finished.result.non_finite > 0)
        spdlog::warn(
            "unit {}: the model gave {} number{} that are NaN or infinite; they are stored "
            "as they are, and reduce leaves their prompts out and says so",
            loop_.unit_names[finished.unit], finished.result.non_finite,
            finished.result.non_finite == 1 ? "" : "s");
      loop_.writer.write_unit(finished.unit, finished.result, entry);
    }
    loop_.world.send(0, {.kind = kDone,
                         .unit = finished.unit,
                         .aux = finished.failure ? 0 : 1,
                         // What was skipped tells nothing of how long units take.
                         .seconds = finished.result.skipped ? 0.0 : finished.elapsed_s});
    if (!stopping_) request();
  }

  void watch_for_stop() {
    if (reported_stop_ || stopping_) return;
    bool stop = StopSignals::requested();
    if (!stop && seconds_since(looked_) >= kStopFileSeconds) {
      looked_ = Clock::now();
      std::error_code error;
      stop = std::filesystem::exists(loop_.stop_path, error);
    }
    if (!stop) return;
    reported_stop_ = true;
    loop_.world.send(0, {.kind = kInterrupt});
  }

  const UnitLoop& loop_;
  CrashMarker crash_marker_;
  UnitWorker worker_;
  Clock::time_point synced_ = Clock::now();
  Clock::time_point looked_ = Clock::now();
  LoopOutcome outcome_;
  bool stopping_ = false;
  bool reported_stop_ = false;
  bool said_goodbye_ = false;
  bool left_ = false;
};

}  // namespace

LoopOutcome run_units(const UnitLoop& loop) {
  double total_flops = 0.0;
  for (const double flops : loop.unit_flops) total_flops += flops;
  std::optional<Dispatcher> dispatcher;
  if (loop.world.rank() == 0) dispatcher.emplace(loop, total_flops);
  Worker worker(loop);
  while (!worker.finished()) {
    while (auto received = loop.world.poll()) {
      const auto& [from, message] = *received;
      if (message.kind == kAssign || message.kind == kStop || message.kind == kLeave) {
        worker.handle(message);
      } else {
        dispatcher->handle(from, message);
      }
    }
    if (dispatcher) dispatcher->serve();
    worker.step();
  }
  const Watchdog::Watch watch(Waiting::io, "syncing the results");
  loop.writer.sync();
  if (dispatcher) dispatcher->end();
  return worker.outcome();
}

int loop_status(const LoopOutcome& outcome) {
  if (outcome.interrupted) return exit_status(ErrorKind::interrupted);
  return outcome.failed > 0 ? kExitUnitsFailed : kExitDone;
}

}  // namespace mechsweep
