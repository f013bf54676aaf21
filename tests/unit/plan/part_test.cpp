#include "plan/part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"

namespace mechsweep {
namespace {

TEST(SweepPart, ReadsNumberAndCount) {
  EXPECT_EQ(parse_part("3/16").number, 3);
  EXPECT_EQ(parse_part("3/16").count, 16);
  EXPECT_EQ(parse_part("1/1").count, 1);
}

TEST(SweepPart, RefusesWhatIsNoPart) {
  for (const char* text : {"", "3", "/", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/4x", " 1/4", "1//4",
                           "1/99999999999", "1/4/2"}) {
    try {
      (void)parse_part(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_THAT(error.what(), ::testing::HasSubstr(text));
    }
  }
}

TEST(SweepPart, EveryUnitIsInOnePart) {
  const std::vector<double> flops{5, 1, 0, 0, 30, 2, 2, 2, 9, 1, 1};
  for (const int count : {1, 2, 3, 7, 40}) {
    std::vector<int> times(flops.size(), 0);
    for (int number = 1; number <= count; ++number) {
      const auto mine = units_of_part(flops, {number, count});
      for (size_t i = 0; i < mine.size(); ++i) times[i] += mine[i] ? 1 : 0;
    }
    EXPECT_THAT(times, ::testing::Each(1)) << count;
  }
}

TEST(SweepPart, IsContiguousAndFair) {
  std::vector<double> flops(1000);
  std::iota(flops.begin(), flops.end(), 1.0);
  const double total = std::accumulate(flops.begin(), flops.end(), 0.0);
  for (int number = 1; number <= 8; ++number) {
    const auto mine = units_of_part(flops, {number, 8});
    double work = 0.0;
    int changes = 0;
    for (size_t i = 0; i < mine.size(); ++i) {
      if (mine[i]) work += flops[i];
      if (i > 0 && mine[i] != mine[i - 1]) ++changes;
    }
    // A border cuts through a unit, and the largest has 1,000.
    EXPECT_NEAR(work, total / 8, 1000.0);
    EXPECT_LE(changes, 2);
  }
}

TEST(SweepPart, UnitsWithoutCostAreSpread) {
  const std::vector<double> flops(10, 0.0);
  for (int number = 1; number <= 5; ++number) {
    const auto mine = units_of_part(flops, {number, 5});
    EXPECT_EQ(std::count(mine.begin(), mine.end(), true), 2);
  }
}

}  // namespace
}  // namespace mechsweep
