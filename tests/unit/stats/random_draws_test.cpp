#include "stats/random_draws.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::expect_all_same;
using testing::number;
using testing::numbers;

/// Layers 2, 3, 5 with 4, 3 and 1 heads.
std::vector<HeadPlace> some_heads() {
  return {{2, 0}, {2, 1}, {2, 2}, {2, 3}, {3, 0}, {3, 1}, {3, 2}, {5, 0}};
}

std::map<int32_t, int> by_layer(std::span<const int32_t> picks) {
  std::map<int32_t, int> counts;
  for (const int32_t pick : picks) ++counts[some_heads()[pick].layer];
  return counts;
}

TEST(RandomHeads, KeepToWhatWasAsked) {
  const std::vector<HeadPlace> chosen{{3, 1}, {2, 0}};
  const auto candidates = some_heads();
  for (const DrawMatch match : {DrawMatch::uniform, DrawMatch::layer}) {
    for (const ChosenHeads rule : {ChosenHeads::allowed, ChosenHeads::excluded}) {
      const auto picks =
          draw_heads(candidates, chosen,
                     {.draws = 300, .match = match, .chosen = rule, .seed = 1, .purpose = "test"});
      ASSERT_EQ(picks.size(), 600U);
      bool any_chosen = false;
      for (size_t draw = 0; draw < 300; ++draw) {
        const auto set = std::span(picks).subspan(2 * draw, 2);
        EXPECT_LT(set[0], set[1]);
        for (const int32_t pick : set)
          any_chosen |= std::find(chosen.begin(), chosen.end(), candidates[pick]) != chosen.end();
        if (match == DrawMatch::layer) {
          EXPECT_EQ(by_layer(set), (std::map<int32_t, int>{{2, 1}, {3, 1}}));
        }
      }
      EXPECT_EQ(any_chosen, rule == ChosenHeads::allowed);
    }
  }
}

TEST(RandomHeads, EverySetIsEquallyLikely) {
  // Six heads, three of them chosen: 20 sets. One layer of five, two chosen, the others one: 10.
  const auto chi_square = [](std::span<const HeadPlace> candidates,
                             std::span<const HeadPlace> chosen, DrawMatch match, size_t sets) {
    const int64_t draws = 20000;
    const auto picks =
        draw_heads(candidates, chosen, {.draws = draws, .match = match, .seed = 7, .purpose = "x"});
    std::map<std::vector<int32_t>, double> counts;
    for (int64_t draw = 0; draw < draws; ++draw) {
      const auto* at = picks.data() + draw * std::ssize(chosen);
      counts[std::vector<int32_t>(at, at + chosen.size())] += 1.0;
    }
    EXPECT_EQ(counts.size(), sets);
    const double expected = static_cast<double>(draws) / static_cast<double>(sets);
    double sum = 0.0;
    for (const auto& [set, count] : counts)
      sum += (count - expected) * (count - expected) / expected;
    return sum;
  };
  const Json& critical = testing::stats_golden()["chi_square_1e_6"];
  const std::vector<HeadPlace> six{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 0}, {2, 1}};
  EXPECT_LT(chi_square(six, std::span(six).first(3), DrawMatch::uniform, 20),
            number(critical["19"]));
  const std::vector<HeadPlace> layers{{4, 0}, {4, 1}, {4, 2}, {4, 3}, {4, 4}, {9, 0}};
  const std::vector<HeadPlace> chosen{{4, 1}, {4, 2}, {9, 0}};
  EXPECT_LT(chi_square(layers, chosen, DrawMatch::layer, 10), number(critical["9"]));
}

TEST(RandomHeads, MoreDrawsKeepTheEarlierOnes) {
  const std::vector<HeadPlace> chosen{{3, 1}, {2, 0}};
  const auto draw = [&](int64_t draws, uint64_t seed) {
    return draw_heads(some_heads(), chosen, {.draws = draws, .seed = seed, .purpose = "k2"});
  };
  const auto few = draw(50, 1), many = draw(80, 1);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
  EXPECT_NE(few, draw(50, 2));
}

TEST(RandomHeads, TooFewHeadsAreNamed) {
  const auto message_of = [](const std::vector<HeadPlace>& chosen, const HeadDrawOptions& options) {
    try {
      draw_heads(some_heads(), chosen, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      return error.message();
    }
    return std::string("nothing was thrown");
  };
  const HeadDrawOptions layered{.match = DrawMatch::layer, .chosen = ChosenHeads::excluded};
  EXPECT_NE(
      message_of({{3, 0}, {3, 1}}, layered).find("2 were chosen in layer 3, but only 1 other"),
      std::string::npos);
  EXPECT_NE(message_of({{2, 0}, {2, 1}, {2, 2}, {2, 3}, {3, 0}}, {.chosen = ChosenHeads::excluded})
                .find("5 were chosen, but only 3 other"),
            std::string::npos);
  EXPECT_NE(message_of({}, {}).find("no head was chosen"), std::string::npos);
  EXPECT_NE(message_of({{2, 0}}, {.draws = 0}).find("0 draws"), std::string::npos);
}

TEST(DrawComparison, MatchesSciPyMonteCarloTest) {
  const Json& golden = testing::stats_golden()["random_draws"];
  const auto draws = numbers(golden["draws"]), shares = numbers(golden["shares"]);
  const std::vector<Alternative> alternatives{Alternative::two_sided, Alternative::greater,
                                              Alternative::less};
  for (const Json& expected : golden["cases"]) {
    for (size_t a = 0; a < alternatives.size(); ++a) {
      const auto result =
          compare_with_draws(number(expected["observed"]), draws, shares, alternatives[a]);
      EXPECT_DOUBLE_EQ(result.p_value, number(expected["p_values"][a])) << expected["observed"];
      EXPECT_NEAR(result.z, number(expected["z"]), 1e-12);
      EXPECT_NEAR(result.mean, number(golden["mean"]), 1e-13);
      EXPECT_NEAR(result.sd, number(golden["sd"]), 1e-13);
      expect_all_same(result.quantiles, numbers(golden["quantiles"]), 1e-13, "quantile");
    }
  }
}

TEST(DrawComparison, NanDrawsAreLeftOutAndCounted) {
  const double nan = std::nan("");
  const std::vector<double> draws{nan, 1.0, 3.0, nan, 1.0};
  const auto result = compare_with_draws(2.0, draws, std::vector{0.5}, Alternative::greater);
  EXPECT_EQ(result.draws, 3);
  EXPECT_EQ(result.at_least, 1);
  EXPECT_DOUBLE_EQ(result.p_value, 0.5);
  EXPECT_DOUBLE_EQ(result.quantiles[0], 1.0);
  EXPECT_TRUE(std::isnan(compare_with_draws(nan, draws, {}, Alternative::less).p_value));
  EXPECT_TRUE(std::isnan(
      compare_with_draws(1.0, std::vector{nan}, std::vector{0.5}, Alternative::less).quantiles[0]));
  EXPECT_TRUE(std::isnan(compare_with_draws(2.0, std::vector{1.0, 1.0}, {}, Alternative::less).z));
}

}  // namespace
}  // namespace mechsweep
