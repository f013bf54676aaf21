#include "stats/interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::numbers;
using testing::stats_golden;

TEST(Quantile, MatchesNumPyLinear) {
  const Json& golden = stats_golden()["quantiles"];
  const auto sorted = numbers(golden["sorted"]);
  const auto p = numbers(golden["p"]);
  const auto expected = numbers(golden["expected"]);
  ASSERT_EQ(p.size(), 8U);
  for (size_t i = 0; i < p.size(); ++i)
    EXPECT_NEAR(quantile_of_sorted(sorted, p[i]), expected[i], 1e-14) << "p = " << p[i];
}

TEST(Quantile, OfOneValueIsThatValue) {
  const std::vector<double> one{4.5};
  for (const double p : {0.0, 0.3, 1.0}) EXPECT_EQ(quantile_of_sorted(one, p), 4.5);
}

TEST(Intervals, SymmetricDistributionGivesBcaEqualToPercentile) {
  // 0..100 around 50: half of the replicates on each side, symmetric jackknife, so z0 = a = 0.
  std::vector<double> replicates;
  for (int i = 0; i <= 100; ++i) replicates.push_back((i * 37) % 101);
  const auto result = intervals_of(replicates, 50.0, std::vector{49.0, 50.0, 51.0}, 0.9, 1e-9);
  EXPECT_NEAR(result.percentile_low, 5.0, 1e-12);
  EXPECT_NEAR(result.percentile_high, 95.0, 1e-12);
  EXPECT_NEAR(result.bca_low, 5.0, 1e-9);
  EXPECT_NEAR(result.bca_high, 95.0, 1e-9);
  // Sum of squares of 0..100 around 50 is 101 * (101^2 - 1) / 12 = 85850.
  EXPECT_NEAR(result.standard_error, std::sqrt(858.5), 1e-10);
  EXPECT_EQ(result.replicates, 101);
}

TEST(Intervals, ReplicatesTiedWithTheEstimateWithinToleranceAreDegenerate) {
  std::vector<double> replicates{3.0, 3.0 + 1e-13, 3.0 - 1e-13};
  const auto result = intervals_of(replicates, 3.0, std::vector{3.0, 3.0}, 0.95, 1e-12);
  EXPECT_EQ(result.standard_error, 0.0);
  for (const double bound :
       {result.percentile_low, result.percentile_high, result.bca_low, result.bca_high})
    EXPECT_EQ(bound, 3.0);
}

TEST(Intervals, RoundingOfTiesDoesNotMoveTheBias) {
  std::vector<double> exact{0.0, 1.0, 1.0, 1.0, 2.0, 3.0};
  std::vector<double> rounded{0.0, 1.0 - 1e-15, 1.0, 1.0 + 1e-15, 2.0, 3.0};
  const std::vector<double> jackknife{0.5, 1.0, 1.2};
  const auto a = intervals_of(exact, 1.0, jackknife, 0.5, 1e-12);
  const auto b = intervals_of(rounded, 1.0, jackknife, 0.5, 1e-12);
  EXPECT_NEAR(a.bca_low, b.bca_low, 1e-14);
  EXPECT_NEAR(a.bca_high, b.bca_high, 1e-14);
}

TEST(Intervals, NonFiniteReplicatesAreLeftOutAndCounted) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  std::vector<double> replicates{nan, 2.0, infinity, 1.0, 3.0, -infinity};
  const auto result = intervals_of(replicates, 2.0, std::vector{1.0, 3.0}, 0.5, 0.0);
  EXPECT_EQ(result.replicates, 3);
  EXPECT_DOUBLE_EQ(result.percentile_low, 1.5);
  EXPECT_DOUBLE_EQ(result.percentile_high, 2.5);
  EXPECT_DOUBLE_EQ(result.standard_error, 1.0);
}

TEST(Intervals, TooFewReplicatesOrNoEstimateGiveNan) {
  std::vector<double> one{1.0, std::nan("")};
  EXPECT_TRUE(std::isnan(intervals_of(one, 1.0, std::vector{1.0}, 0.9, 0.0).percentile_low));
  std::vector<double> two{1.0, 2.0};
  EXPECT_TRUE(std::isnan(intervals_of(two, std::nan(""), std::vector{1.0}, 0.9, 0.0).bca_low));
}

TEST(Intervals, NonFiniteJackknifeSparesThePercentileInterval) {
  std::vector<double> replicates{1.0, 2.0, 3.0};
  const auto result = intervals_of(replicates, 2.0, std::vector{1.0, std::nan("")}, 0.5, 0.0);
  EXPECT_DOUBLE_EQ(result.percentile_low, 1.5);
  EXPECT_TRUE(std::isnan(result.bca_low));
  EXPECT_TRUE(std::isnan(result.bca_high));
}

TEST(Intervals, EstimateOutsideAllReplicatesStaysFinite) {
  // All replicates below the estimate: the proportion is kept at 1 - 1/(2B), not at 1.
  std::vector<double> replicates{1.0, 2.0, 3.0, 4.0};
  const auto result = intervals_of(replicates, 9.0, std::vector{8.0, 10.0}, 0.9, 0.0);
  EXPECT_TRUE(std::isfinite(result.bca_low));
  EXPECT_GT(result.bca_low, result.percentile_low);
  EXPECT_LE(result.bca_high, 4.0);
}

}  // namespace
}  // namespace mechsweep
