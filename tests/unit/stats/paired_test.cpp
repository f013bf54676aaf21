#include "stats/paired.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::number;
using testing::numbers;
using testing::own_clusters;

TEST(Paired, MatchesSciPyPermutationTest) {
  const Json& golden = testing::stats_golden()["paired"];
  const auto first = numbers(golden["first"]), second = numbers(golden["second"]);
  const auto clusters = golden["clusters"].get<std::vector<int>>();
  const auto resamples = draw_resamples(9, {.resamples = 100, .purpose = "test"});
  const SignFlips flips = draw_sign_flips(9, {.flips = 512});
  const std::vector<Alternative> alternatives{Alternative::two_sided, Alternative::greater,
                                              Alternative::less};
  for (size_t a = 0; a < alternatives.size(); ++a) {
    const auto cells = compare_paired({first, 14, 4}, {second, 14, 4}, clusters, resamples, 0.95,
                                      flips, {.alternative = alternatives[a]});
    ASSERT_EQ(cells.size(), 4U);
    for (size_t c = 0; c < cells.size(); ++c) {
      const Json& expected = golden["cells"][c];
      EXPECT_NEAR(cells[c].difference.estimate, number(expected["mean"]), 1e-14);
      EXPECT_NEAR(cells[c].test.mean, number(expected["mean"]), 1e-14);
      EXPECT_EQ(cells[c].difference.prompts, expected["prompts"].get<int64_t>());
      EXPECT_DOUBLE_EQ(cells[c].test.p_value, number(expected["p_values"][a])) << a << " " << c;
    }
  }
}

TEST(Paired, IntervalsAreThoseOfTheDifferences) {
  const std::vector<double> first{3, 5, 4, 8, 2}, second{1, 4, 4, 2, 0}, difference{2, 1, 0, 6, 2};
  const auto resamples = draw_resamples(5, {.resamples = 200, .purpose = "test"});
  const auto flips = draw_sign_flips(5, {.flips = 32});
  const auto paired =
      compare_paired({first, 5, 1}, {second, 5, 1}, own_clusters(5), resamples, 0.9, flips, {})[0];
  const auto alone =
      bootstrap_means({difference, 5, 1}, own_clusters(5), resamples, 0.9, {0, 1})[0];
  EXPECT_EQ(paired.difference.intervals.bca_low, alone.intervals.bca_low);
  EXPECT_EQ(paired.difference.intervals.percentile_high, alone.intervals.percentile_high);
}

TEST(Paired, ManyClustersAgreeWithTheLawOfTheSum) {
  const Json& golden = testing::stats_golden()["many_clusters"];
  const auto values = numbers(golden["values"]);
  const SignFlips flips = draw_sign_flips(40, {.flips = 50000, .seed = 6, .purpose = "test"});
  for (const auto& [alternative, name] : {std::pair(Alternative::two_sided, "two_sided"),
                                          std::pair(Alternative::greater, "greater")}) {
    const double p = number(golden[name]);
    const auto test =
        sign_flip_tests({values, 40, 1}, own_clusters(40), flips, {.alternative = alternative})[0];
    EXPECT_NEAR(test.p_value, p, 5.0 * std::sqrt(p * (1.0 - p) / 50000.0) + 1.0 / 50000.0) << name;
  }
}

}  // namespace
}  // namespace mechsweep
