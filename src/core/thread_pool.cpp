#include "core/thread_pool.h"

#include <omp.h>

#include "core/error.h"

namespace mechsweep {

ThreadPool::ThreadPool(int threads) {
  ensure(threads >= 1, "a thread pool needs at least one thread");
  omp_set_num_threads(1);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  {
    const std::lock_guard lock(mutex_);
    ensure(body_ == nullptr, "parallel_for was called inside parallel_for");
    body_ = &body;
    count_ = count;
    next_ = 0;
    failure_ = nullptr;
    busy_ = static_cast<int>(workers_.size());
    ++generation_;
  }
  start_.notify_all();
  drain();
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [this] { return busy_ == 0; });
  body_ = nullptr;
  if (failure_) std::rethrow_exception(failure_);
}

void ThreadPool::work() {
  omp_set_num_threads(1);
  uint64_t seen = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
    }
    drain();
    const std::lock_guard lock(mutex_);
    if (--busy_ == 0) finished_.notify_all();
  }
}

void ThreadPool::drain() {
  for (;;) {
    int64_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      if (next_ >= count_ || failure_) return;
      index = next_++;
    }
    try {
      (*body_)(index);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }
}

}  // namespace mechsweep
