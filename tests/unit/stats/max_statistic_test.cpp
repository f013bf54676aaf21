#include "stats/max_statistic.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::number;
using testing::numbers;
using testing::own_clusters;

CellTestOptions options_of(const Json& expected) {
  const auto alternative = expected["alternative"].get<std::string>();
  return {.statistic =
              expected["statistic"] == "mean" ? CellStatistic::mean : CellStatistic::studentised,
          .alternative = alternative == "greater" ? Alternative::greater
                         : alternative == "less"  ? Alternative::less
                                                  : Alternative::two_sided};
}

TEST(MaxStatistic, MatchesAllSignPatterns) {
  const Json& golden = testing::stats_golden()["max_statistic"];
  const auto values = numbers(golden["values"]);
  const auto clusters = golden["clusters"].get<std::vector<int>>();
  const SignFlips flips = draw_sign_flips(8, {.flips = 256});
  ASSERT_EQ(golden["cases"].size(), 6U);
  for (const Json& expected : golden["cases"]) {
    const auto tests = sign_flip_tests({values, 12, 6}, clusters, flips, options_of(expected));
    for (size_t c = 0; c < tests.size(); ++c) {
      const std::string name = expected["statistic"].get<std::string>() + " " +
                               expected["alternative"].get<std::string>() + " " + std::to_string(c);
      EXPECT_NEAR(tests[c].statistic, number(expected["observed"][c]), 1e-13) << name;
      EXPECT_DOUBLE_EQ(tests[c].p_value, number(expected["p_values"][c])) << name;
      EXPECT_DOUBLE_EQ(tests[c].adjusted_p_value, number(expected["adjusted"][c])) << name;
      EXPECT_EQ(tests[c].prompts, c == 4 ? 10 : 12) << name;
      EXPECT_EQ(tests[c].clusters, c == 4 ? 6 : 8) << name;
    }
  }
}

TEST(MaxStatistic, RandomFlipsAgreeWithAllPatternsWithinMonteCarloError) {
  const Json& golden = testing::stats_golden()["max_statistic"];
  const auto values = numbers(golden["values"]);
  auto clusters = golden["clusters"].get<std::vector<int>>();
  // Twenty clusters that no prompt has: 2^28 patterns, of which each of the 2^8 is as likely.
  const SignFlips flips = draw_sign_flips(28, {.flips = 20000, .seed = 4, .purpose = "test"});
  ASSERT_FALSE(flips.exact);
  const Json& expected = golden["cases"][0];
  const auto tests = sign_flip_tests({values, 12, 6}, clusters, flips, options_of(expected));
  const auto check = [](double actual, double p, const char* name) {
    EXPECT_NEAR(actual, p, 5.0 * std::sqrt(p * (1.0 - p) / 20000.0) + 1.0 / 20000.0) << name;
  };
  for (size_t c = 0; c < tests.size(); ++c) {
    check(tests[c].p_value, number(expected["p_values"][c]), "p");
    check(tests[c].adjusted_p_value, number(expected["adjusted"][c]), "adjusted");
  }
}

TEST(MaxStatistic, CellsOfAllBlocksEnterTheMaximum) {
  // 70 cells, the strongest in the middle block, one empty and one of zeros.
  RandomStream stream(1, "max_statistic_test");
  std::vector<double> values(12 * 70);
  for (double& value : values) value = stream.uniform() - 0.5;
  for (int prompt = 0; prompt < 12; ++prompt) {
    values[prompt * 70 + 40] += 1.0;
    values[prompt * 70 + 3] = std::nan("");
    values[prompt * 70 + 4] = 0.0;
  }
  const SignFlips flips = draw_sign_flips(12, {.flips = 4096});
  const auto tests = sign_flip_tests({values, 12, 70}, own_clusters(12), flips, {});
  ASSERT_EQ(tests.size(), 70U);
  EXPECT_DOUBLE_EQ(tests[40].p_value, 2.0 / 4096.0);
  for (size_t c = 0; c < tests.size(); ++c) {
    if (c == 3) continue;
    EXPECT_GE(tests[c].adjusted_p_value, tests[c].p_value) << c;
    EXPECT_GE(tests[c].adjusted_p_value, tests[40].adjusted_p_value) << c;
    EXPECT_LE(tests[c].adjusted_p_value, std::min(1.0, 69.0 * tests[c].p_value)) << c;
  }
  EXPECT_EQ(tests[3].prompts, 0);
  EXPECT_TRUE(std::isnan(tests[3].p_value) && std::isnan(tests[3].adjusted_p_value));
  EXPECT_DOUBLE_EQ(tests[4].p_value, 1.0);
}

TEST(MaxStatistic, RoundingDecidesNothing) {
  // In tenths, 76 of the 256 sums are at least as far from 0 as the observed 1.3 (counted in whole
  // numbers); in floating point 10 of them fall short by a last bit as means, 18 studentised.
  const std::vector<double> values{0.1, 0.2, 0.3, -0.6, 0.7, 0.1, 0.3, 0.2};
  const SignFlips flips = draw_sign_flips(8, {.flips = 256});
  for (const auto statistic : {CellStatistic::studentised, CellStatistic::mean}) {
    const auto test =
        sign_flip_tests({values, 8, 1}, own_clusters(8), flips, {.statistic = statistic})[0];
    EXPECT_DOUBLE_EQ(test.p_value, 76.0 / 256.0);
    EXPECT_DOUBLE_EQ(test.adjusted_p_value, 76.0 / 256.0);
  }
}

TEST(MaxStatistic, StudentisedLetsAQuietCellBeFoundBesideANoisyOne) {
  RandomStream stream(2, "max_statistic_test");
  std::vector<double> values;
  for (int prompt = 0; prompt < 12; ++prompt) {
    values.push_back(0.02 + 0.01 * (stream.uniform() - 0.5));  // small, and the same everywhere
    values.push_back(10.0 * (stream.uniform() - 0.5));
  }
  const SignFlips flips = draw_sign_flips(12, {.flips = 4096});
  const auto studentised = sign_flip_tests({values, 12, 2}, own_clusters(12), flips, {});
  const auto means =
      sign_flip_tests({values, 12, 2}, own_clusters(12), flips, {.statistic = CellStatistic::mean});
  EXPECT_LT(studentised[0].adjusted_p_value, 0.01);
  EXPECT_GT(means[0].adjusted_p_value, 0.5);
  EXPECT_DOUBLE_EQ(means[0].p_value, studentised[0].p_value);
}

}  // namespace
}  // namespace mechsweep
