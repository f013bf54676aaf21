#include "stats/head_permutation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::number;
using testing::numbers;

TEST(HeadPermutation, MatchesAllArrangementsWithinMonteCarloError) {
  const Json& golden = testing::stats_golden()["head_permutation"];
  const auto scores = numbers(golden["scores"]);
  constexpr int64_t kDraws = 40000;
  for (const Json& expected : golden["cases"]) {
    const HeadPermutationOptions options{.draws = kDraws,
                                         .top_fraction = expected["fraction"].get<double>(),
                                         .shares = {0.1, 0.9},
                                         .seed = 3,
                                         .purpose = "test"};
    const auto result = permute_heads(scores, 3, 3, options);
    EXPECT_EQ(result.peak, 1);
    const double p = number(expected["p_value"]);
    // 5 binomial standard deviations; 1/N for the observed arrangement itself.
    EXPECT_NEAR(result.p_value, p, 5.0 * std::sqrt(p * (1.0 - p) / kDraws) + 1.0 / kDraws);
    const auto expect_within = [&](double value, const char* share) {
      const auto range = numbers(expected["range"][share]);
      EXPECT_GE(value, range[0] - 1e-12) << share;
      EXPECT_LE(value, range[1] + 1e-12) << share;
    };
    // All layers have the same null.
    for (int layer = 0; layer < 3; ++layer) {
      expect_within(result.band.lower[layer], "0.1");
      expect_within(result.band.median[layer], "0.5");
      expect_within(result.band.upper[layer], "0.9");
    }
  }
}

TEST(HeadPermutation, AHeadThatIsNanStaysInItsLayer) {
  const double nan = std::nan("");
  // Layer 1 has one head: its profile is a single score in every draw, layer 0's a mean of two.
  const std::vector<double> scores{1.0, 2.0, nan, 4.0, nan, nan};
  const auto result = permute_heads(scores, 3, 2, {.draws = 500, .shares = {0.0, 1.0}});
  EXPECT_DOUBLE_EQ(result.band.lower[0], 1.5);
  EXPECT_DOUBLE_EQ(result.band.upper[0], 3.0);
  EXPECT_DOUBLE_EQ(result.band.lower[1], 1.0);
  EXPECT_DOUBLE_EQ(result.band.upper[1], 4.0);
  EXPECT_TRUE(std::isnan(result.band.upper[2]));
  EXPECT_EQ(result.peak, 1);
  // The peak is the largest score: a third of the draws has it there, the others have at most 3.
  EXPECT_NEAR(result.p_value, 1.0 / 3.0, 0.11);
}

TEST(HeadPermutation, EqualHeadsAndNoHeads) {
  const std::vector<double> equal(6, 0.1);
  EXPECT_DOUBLE_EQ(permute_heads(equal, 2, 3, {.draws = 50}).p_value, 1.0);
  const std::vector<double> none(6, std::nan(""));
  const auto result = permute_heads(none, 2, 3, {.draws = 50});
  EXPECT_EQ(result.peak, -1);
  EXPECT_TRUE(std::isnan(result.p_value));
  EXPECT_THROW(permute_heads(equal, 2, 3, {.draws = 0}), Error);
}

TEST(HeadPermutation, DrawsDependOnSeedAndPurposeOnly) {
  std::vector<double> scores(60);
  for (int i = 0; i < 60; ++i) scores[i] = std::sin(i * i);
  const auto run = [&](uint64_t seed, const char* purpose) {
    return permute_heads(scores, 10, 6, {.draws = 99, .seed = seed, .purpose = purpose}).band.upper;
  };
  EXPECT_EQ(run(1, "a"), run(1, "a"));
  EXPECT_NE(run(1, "a"), run(2, "a"));
  EXPECT_NE(run(1, "a"), run(1, "b"));
}

}  // namespace
}  // namespace mechsweep
