#include "core/watchdog.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace mechsweep {
namespace {

constexpr auto kLong = std::chrono::seconds(20);

void rest(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

TEST(WatchdogDeathTest, EndsTheProcessAndNamesThePlace) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const Watchdog watchdog(3);
        Watchdog::set_limits({.collective_s = 0.5});
        const Watchdog::Watch watch(Waiting::collective, "a place to wait in");
        std::this_thread::sleep_for(kLong);
      },
      ::testing::ExitedWithCode(5),
      "rank 3 hung for 0.5 s in a place to wait in \\(watchdog_test.cpp:[0-9]+\\)");
}

TEST(WatchdogDeathTest, EveryKindHasItsLimit) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const Watchdog watchdog(0);
        Watchdog::set_limits({.io_s = 0.5});
        const Watchdog::Watch loading(Waiting::loading, "loading");
        const Watchdog::Watch io(Waiting::io, "writing");
        std::this_thread::sleep_for(kLong);
      },
      ::testing::ExitedWithCode(5), "in writing");
}

TEST(WatchdogDeathTest, WatchesOtherThreadsToo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const Watchdog watchdog(0);
        Watchdog::set_limits({.collective_s = 0.5});
        std::thread([] {
          const Watchdog::Watch watch(Waiting::collective, "elsewhere");
          std::this_thread::sleep_for(kLong);
        }).join();
      },
      ::testing::ExitedWithCode(5), "in elsewhere");
}

TEST(WatchdogTest, LetsAloneWhatEndsInTime) {
  const Watchdog watchdog(0);
  Watchdog::set_limits({.collective_s = 0.4});
  for (int i = 0; i < 4; ++i) {
    const Watchdog::Watch watch(Waiting::collective, "short");
    rest(0.15);
  }
  rest(0.8);  // nothing is watched
}

TEST(WatchdogTest, ACollectiveHasThePatienceOfWhatItIsPartOf) {
  const Watchdog watchdog(0);
  Watchdog::set_limits({.collective_s = 0.3, .io_s = 60.0});
  const Watchdog::Watch step(Waiting::io, "a step");
  const Watchdog::Watch watch(Waiting::collective, "its end");
  rest(1.0);
}

TEST(WatchdogTest, WithoutOneNothingIsWatched) {
  const Watchdog::Watch watch(Waiting::collective, "nobody looks");
  rest(0.01);
}

}  // namespace
}  // namespace mechsweep
