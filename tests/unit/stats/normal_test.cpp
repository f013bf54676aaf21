#include "stats/normal.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::numbers;
using testing::stats_golden;

TEST(Normal, CdfMatchesSciPyInBothTails) {
  const Json& golden = stats_golden()["normal"];
  const auto x = numbers(golden["x"]);
  const auto expected = numbers(golden["cdf"]);
  ASSERT_EQ(x.size(), 14U);
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(normal_cdf(x[i]) / expected[i], 1.0, 2e-13) << "x = " << x[i];
}

TEST(Normal, QuantileMatchesSciPyInEveryRegion) {
  const Json& golden = stats_golden()["normal"];
  const auto p = numbers(golden["p"]);
  const auto expected = numbers(golden["quantile"]);
  ASSERT_EQ(p.size(), 16U);
  for (size_t i = 0; i < p.size(); ++i)
    EXPECT_NEAR(normal_quantile(p[i]), expected[i], 4e-15 * std::max(1.0, std::abs(expected[i])))
        << "p = " << p[i];
}

TEST(Normal, QuantileUndoesCdf) {
  for (double x = -6.0; x <= 3.0; x += 0.125)
    EXPECT_NEAR(normal_quantile(normal_cdf(x)), x, 1e-12) << "x = " << x;
}

TEST(Normal, QuantileAtAndOutsideTheEnds) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(normal_quantile(0.0), -infinity);
  EXPECT_EQ(normal_quantile(1.0), infinity);
  EXPECT_TRUE(std::isnan(normal_quantile(-1e-9)));
  EXPECT_TRUE(std::isnan(normal_quantile(1.0 + 1e-9)));
  EXPECT_TRUE(std::isnan(normal_quantile(std::nan(""))));
}

}  // namespace
}  // namespace mechsweep
