#include "core/thread_pool.h"

#include <omp.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, CallsEveryIndexOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.size(), GetParam());
  for (const int64_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
    pool.parallel_for(count, [&](int64_t i) { ++calls.at(static_cast<size_t>(i)); });
    for (const auto& number : calls) EXPECT_EQ(number, 1);
  }
}

TEST_P(ThreadPoolTest, RethrowsTheFailureOfABodyAndCanBeUsedAgain) {
  ThreadPool pool(GetParam());
  try {
    pool.parallel_for(100, [](int64_t i) {
      if (i == 37) throw std::runtime_error("unit 37");
    });
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(std::string(error.what()), "unit 37");
  }
  std::atomic<int64_t> sum = 0;
  pool.parallel_for(100, [&](int64_t i) { sum += i; });
  EXPECT_EQ(sum, 4950);
}

TEST_P(ThreadPoolTest, LibrariesSeeOneThreadInABody) {
  ThreadPool pool(GetParam());
  std::atomic<int> others = 0;
  pool.parallel_for(50, [&](int64_t) {
    if (omp_get_max_threads() != 1) ++others;
  });
  EXPECT_EQ(others, 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 4));

// Two bodies that wait for each other end only when two threads run them.
TEST(ThreadPool, RunsBodiesAtTheSameTime) {
  ThreadPool pool(2);
  std::atomic<int> arrived = 0;
  std::mutex mutex;
  std::set<std::thread::id> threads;
  pool.parallel_for(2, [&](int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 2U);
}

TEST(ThreadPoolDeathTest, RefusesMisuse) {
  EXPECT_DEATH(ThreadPool(0), "at least one thread");
  EXPECT_DEATH(
      {
        ThreadPool pool(1);
        pool.parallel_for(1, [&](int64_t) { pool.parallel_for(1, [](int64_t) {}); });
      },
      "inside parallel_for");
}

}  // namespace
}  // namespace mechsweep
