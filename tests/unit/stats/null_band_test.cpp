#include "stats/null_band.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::expect_all_same;
using testing::number;
using testing::numbers;

TEST(NullBand, MatchesNumPy) {
  const Json& golden = testing::stats_golden()["band"];
  const auto draws = numbers(golden["draws"]);
  const auto shares = numbers(golden["shares"]);
  const NullBand band = null_band(draws, 60, 5, {shares[0], shares[1]});
  expect_all_same(band.median, numbers(golden["median"]), 1e-13, "median");
  expect_all_same(band.lower, numbers(golden["lower"]), 1e-13, "lower");
  expect_all_same(band.upper, numbers(golden["upper"]), 1e-13, "upper");
  expect_all_same(band.simultaneous_lower, numbers(golden["simultaneous_lower"]), 1e-12, "lower");
  expect_all_same(band.simultaneous_upper, numbers(golden["simultaneous_upper"]), 1e-12, "upper");
}

TEST(NullBand, PeakTestsMatchNumPy) {
  const Json& golden = testing::stats_golden()["band"];
  const auto draws = numbers(golden["draws"]);
  for (const Json& expected : golden["peak_tests"]) {
    const PeakTest test = studentised_peak(numbers(expected["profile"]), draws, 60);
    EXPECT_EQ(test.layer, expected["layer"].get<int64_t>());
    EXPECT_NEAR(test.statistic, number(expected["statistic"]), 1e-11);
    EXPECT_NEAR(test.p_value, number(expected["p_value"]), 1e-15);
  }
}

TEST(NullBand, LayersWithoutNumbersOrSpreadAreLeftOut) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> draws{1.0, 0.1, nan, 3.0, 0.1, infinity, 2.0, 0.1, 5.0};  // [3, 3]
  const NullBand band = null_band(draws, 3, 3, {0.0, 1.0});
  EXPECT_DOUBLE_EQ(band.median[0], 2.0);
  EXPECT_DOUBLE_EQ(band.simultaneous_upper[0], 3.0);
  for (const auto* bound : {&band.lower, &band.upper, &band.simultaneous_upper, &band.median})
    EXPECT_DOUBLE_EQ((*bound)[1], 0.1);
  for (const auto* bound : {&band.lower, &band.upper, &band.simultaneous_upper, &band.median})
    EXPECT_TRUE(std::isnan((*bound)[2]));  // one finite number
  EXPECT_EQ(studentised_peak(std::vector{9.0, 0.1, 9.0}, draws, 3).layer, 0);
  const PeakTest none = studentised_peak(std::vector{nan, 0.1, 9.0}, draws, 3);
  EXPECT_EQ(none.layer, -1);
  EXPECT_TRUE(std::isnan(none.p_value));
}

TEST(NullBand, RefusesSharesThatAreNone) {
  const std::vector<double> draws{1.0, 2.0};
  EXPECT_THROW(null_band(draws, 2, 1, {0.9, 0.1}), Error);
  EXPECT_THROW(null_band(draws, 2, 1, {0.1, 1.1}), Error);
}

}  // namespace
}  // namespace mechsweep
