#include "stats/ranking.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::number;
using testing::numbers;
using testing::stats_golden;

const double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Ranking, MatchesNumPy) {
  const Json& golden = stats_golden()["ranking"];
  const auto values = numbers(golden["values"]);
  const auto order = golden["order"].get<std::vector<int64_t>>();
  EXPECT_EQ(order_descending(values), order);
  EXPECT_EQ(top_k(values, 3), std::vector<int64_t>(order.begin(), order.begin() + 3));
  EXPECT_DOUBLE_EQ(median(values), number(golden["median"]));
  EXPECT_DOUBLE_EQ(fraction_positive(values), number(golden["fraction_positive"]));
}

TEST(Ranking, TiesGoByIndexAndNanGoesLast) {
  const std::vector<double> values{1.0, kNan, 2.0, 1.0, 2.0, kNan, -0.0, 0.0};
  EXPECT_EQ(order_descending(values), (std::vector<int64_t>{2, 4, 0, 3, 6, 7, 1, 5}));
}

TEST(Ranking, TopKNeverReturnsNan) {
  const std::vector<double> values{kNan, 5.0, 7.0};
  EXPECT_EQ(top_k(values, 2), (std::vector<int64_t>{2, 1}));
  EXPECT_THROW(top_k(values, 3), Error);
  EXPECT_THROW(top_k(values, 0), Error);
}

TEST(Ranking, MedianOfOddEvenAndNoValues) {
  EXPECT_EQ(median(std::vector{3.0, 1.0, 2.0}), 2.0);
  EXPECT_EQ(median(std::vector{4.0, 1.0, 3.0, 2.0}), 2.5);
  EXPECT_EQ(median(std::vector{4.0, kNan, 1.0}), 2.5);
  EXPECT_TRUE(std::isnan(median(std::vector{kNan})));
  EXPECT_TRUE(std::isnan(median(std::vector<double>{})));
}

TEST(Ranking, ZeroAndNanAreNotPositive) {
  const std::vector<double> values{0.0, 1.0, -1.0, kNan, 2.0};
  EXPECT_EQ(count_positive(values), 2);
  EXPECT_DOUBLE_EQ(fraction_positive(values), 0.5);
  EXPECT_TRUE(std::isnan(fraction_positive(std::vector{kNan})));
}

}  // namespace
}  // namespace mechsweep
