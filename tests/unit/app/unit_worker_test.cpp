#include "app/unit_worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace mechsweep {
namespace {

constexpr double kPatience_s = 60.0;

UnitResult nothing(int /*unit*/) {
  return {};
}

TEST(UnitWorker, BeginsAUnitOnlyWhenTheOneBeforeIsRecorded) {
  std::atomic<int> begun = 0;
  int recorded = 0;
  UnitWorker worker(
      nothing, [&](int) { ++begun; }, [] {});
  for (int unit = 0; unit < 5; ++unit) worker.add(unit);
  while (recorded < 5)
    worker.hand_over(kPatience_s, [&](const FinishedUnit& finished) {
      EXPECT_EQ(finished.unit, recorded);
      // Long enough for the other thread to begin another one, if it did.
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      EXPECT_EQ(begun, ++recorded);
    });
  EXPECT_EQ(worker.held(), 0);
}

TEST(UnitWorker, HoldsAUnitUntilItIsRecorded) {
  UnitWorker worker(
      nothing, [](int) {}, [] {});
  worker.add(7);
  EXPECT_EQ(worker.held(), 1);
  bool was_recorded = false;
  worker.hand_over(kPatience_s, [&](const FinishedUnit&) {
    EXPECT_EQ(worker.held(), 1);
    was_recorded = true;
  });
  EXPECT_TRUE(was_recorded);
  EXPECT_EQ(worker.held(), 0);
}

TEST(UnitWorker, BeginsNothingAfterARecordThatFailed) {
  std::atomic<int> begun = 0;
  UnitWorker worker(
      nothing, [&](int) { ++begun; }, [] {});
  worker.add(0);
  worker.add(1);
  EXPECT_THROW(
      worker.hand_over(kPatience_s, [](const FinishedUnit&) { fail(ErrorKind::resource, "full"); }),
      Error);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(begun, 1);
}

TEST(UnitWorker, FailuresOfAUnitAreItsOwnAndThoseOfTheMachineAreFatal) {
  const std::vector<ErrorKind> kinds{ErrorKind::usage, ErrorKind::input, ErrorKind::resource};
  UnitWorker worker(
      [&](int unit) -> UnitResult { fail(kinds[static_cast<size_t>(unit)], "unit {}", unit); },
      [](int) {}, [] {});
  for (int unit = 0; unit < 3; ++unit) {
    worker.add(unit);
    worker.hand_over(kPatience_s, [&](const FinishedUnit& finished) {
      EXPECT_EQ(finished.failure.has_value(), unit == 0);
      EXPECT_EQ(finished.fatal.has_value(), unit != 0);
    });
  }
}

}  // namespace
}  // namespace mechsweep
