#include "stats/multiple_comparisons.h"

#include <gtest/gtest.h>

#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::expect_all_same;
using testing::numbers;

TEST(MultipleComparisons, MatchSciPyAndStatsmodels) {
  const Json& golden = testing::stats_golden()["multiple_comparisons"];
  ASSERT_EQ(golden.size(), 4U);
  for (const Json& expected : golden) {
    const auto p_values = numbers(expected["p"]);
    expect_all_same(benjamini_hochberg(p_values), numbers(expected["q"]), 1e-15, "q");
    expect_all_same(holm(p_values), numbers(expected["holm"]), 1e-15, "holm");
  }
}

TEST(MultipleComparisons, NothingGivesNothing) {
  EXPECT_TRUE(benjamini_hochberg({}).empty());
  EXPECT_TRUE(holm({}).empty());
}

}  // namespace
}  // namespace mechsweep
