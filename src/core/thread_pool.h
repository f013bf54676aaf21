#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mechsweep {

/// A fixed set of threads for data-parallel loops. Every thread, the caller's included, runs
/// library code with one OpenMP thread: parallelism is over panels and heads, never inside a
/// kernel, so that results do not depend on the thread count.
class ThreadPool {
 public:
  /// `threads` >= 1 in all, the calling thread included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(i) once for each i in [0, count), on any thread and in any order; returns when
  /// all are done. The first exception thrown by a body is thrown again here. Not reentrant.
  void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

 private:
  void work();
  void drain();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable finished_;
  const std::function<void(int64_t)>* body_ = nullptr;
  int64_t count_ = 0;
  int64_t next_ = 0;
  int busy_ = 0;
  uint64_t generation_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
};

}  // namespace mechsweep
