#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "core/error.h"
#include "experiments/array_spec.h"

namespace mechsweep {

/// A unit that has been computed, or could not be.
struct FinishedUnit {
  int unit = -1;
  UnitResult result;
  double elapsed_s = 0.0;
  std::optional<Error> fatal;          ///< ends the launch
  std::optional<std::string> failure;  ///< fails the unit only
};

/// Computes units one after another on a thread of its own.
class UnitWorker {
 public:
  /// `begin` is called on that thread before each unit, and `end` after it.
  UnitWorker(std::function<UnitResult(int)> compute, std::function<void(int)> begin,
             std::function<void()> end);
  ~UnitWorker();
  UnitWorker(const UnitWorker&) = delete;
  UnitWorker& operator=(const UnitWorker&) = delete;

  void add(int unit);
  /// Forgets units that have not been started; returns them.
  std::deque<int> drop_waiting();
  /// Gives the next finished unit to `record`, on the calling thread; waits at most `seconds` for
  /// one. The unit after it begins when `record` returns, so that whoever dies never loses more
  /// than one unit. When `record` throws, none begins any more.
  void hand_over(double seconds, const std::function<void(const FinishedUnit&)>& record);
  /// Units added and not yet recorded.
  [[nodiscard]] int held() const;

 private:
  void work();
  FinishedUnit compute_one(int unit) const;

  std::function<UnitResult(int)> compute_;
  std::function<void(int)> begin_;
  std::function<void()> end_;
  mutable std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable has_finished_;
  std::deque<int> waiting_;
  std::optional<FinishedUnit> finished_;
  bool busy_ = false;  ///< from a unit's beginning until it is recorded
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mechsweep
