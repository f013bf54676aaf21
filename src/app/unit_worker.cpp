#include "app/unit_worker.h"

#include <chrono>
#include <new>
#include <utility>

namespace mechsweep {

UnitWorker::UnitWorker(std::function<UnitResult(int)> compute, std::function<void(int)> begin,
                       std::function<void()> end)
    : compute_(std::move(compute)),
      begin_(std::move(begin)),
      end_(std::move(end)),
      thread_([this] { work(); }) {}

UnitWorker::~UnitWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  has_work_.notify_all();
  thread_.join();
}

void UnitWorker::add(int unit) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(unit);
  }
  has_work_.notify_one();
}

std::deque<int> UnitWorker::drop_waiting() {
  const std::lock_guard lock(mutex_);
  return std::exchange(waiting_, {});
}

void UnitWorker::hand_over(double seconds, const std::function<void(const FinishedUnit&)>& record) {
  std::optional<FinishedUnit> unit;
  {
    std::unique_lock lock(mutex_);
    has_finished_.wait_for(lock, std::chrono::duration<double>(seconds),
                           [this] { return finished_.has_value(); });
    unit = std::exchange(finished_, std::nullopt);
  }
  if (!unit) return;
  record(*unit);
  {
    const std::lock_guard lock(mutex_);
    busy_ = false;
  }
  has_work_.notify_one();
}

int UnitWorker::held() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(waiting_.size()) + (busy_ ? 1 : 0);
}

void UnitWorker::work() {
  for (;;) {
    int unit = -1;
    {
      std::unique_lock lock(mutex_);
      has_work_.wait(lock, [this] { return stopping_ || (!waiting_.empty() && !busy_); });
      if (stopping_) return;
      unit = waiting_.front();
      waiting_.pop_front();
      busy_ = true;
    }
    begin_(unit);
    FinishedUnit finished = compute_one(unit);
    end_();
    {
      const std::lock_guard lock(mutex_);
      finished_ = std::move(finished);
    }
    has_finished_.notify_one();
  }
}

FinishedUnit UnitWorker::compute_one(int unit) const {
  FinishedUnit finished{.unit = unit};
  const auto start = std::chrono::steady_clock::now();
  try {
    finished.result = compute_(unit);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::input || error.kind() == ErrorKind::resource) {
      finished.fatal = error;
    } else {
      finished.failure = error.what();
    }
  } catch (const std::bad_alloc&) {
    finished.fatal = Error(ErrorKind::resource, "not enough memory; lower execution.memory_gib");
  } catch (const std::exception& error) {
    finished.failure = error.what();
  }
  finished.elapsed_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return finished;
}

}  // namespace mechsweep
