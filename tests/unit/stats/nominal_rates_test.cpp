// On noise, each test finds something as often as its level says: 2,000 data sets at level .05. The
// bounds for the number of findings are binomial; tests/golden/golden_stats_tests.py derives them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/random.h"
#include "stats/head_permutation.h"
#include "stats/matched_antecedents.h"
#include "stats/max_statistic.h"
#include "stats/multiple_comparisons.h"
#include "stats/normal.h"
#include "stats/null_band.h"
#include "stats/profile_shape.h"
#include "stats/random_draws.h"
#include "stats/sign_flips.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

constexpr int kTrials = 2000;
constexpr double kLevel = 0.05;
// p-values are multiples of 1/100, so that the level is one of them and rates can be exact.
constexpr int64_t kDraws = 99;

/// What every trial gets: its number and its own noise.
struct Trial {
  uint64_t number = 0;
  RandomStream stream;

  [[nodiscard]] std::vector<double> normal(int64_t count) {
    std::vector<double> values(count);
    for (double& value : values) value = normal_quantile(stream.uniform());
    return values;
  }
};

int count_findings(const std::string& purpose, const std::function<bool(Trial&)>& finds) {
  int found = 0;
  for (uint64_t number = 0; number < kTrials; ++number) {
    Trial trial{number, RandomStream(2024, "nominal/" + purpose, number)};
    found += finds(trial) ? 1 : 0;
  }
  return found;
}

void expect_rate(int found, const char* rate) {
  const Json& golden = testing::stats_golden()["rates"];
  ASSERT_EQ(golden["trials"].get<int>(), kTrials);
  ASSERT_EQ(golden["level"].get<double>(), kLevel);
  EXPECT_GE(found, golden[rate][0].get<int>());
  EXPECT_LE(found, golden[rate][1].get<int>());
}

/// Prompts of one cluster share noise, cells share noise, and cells differ in scale.
std::vector<double> dependent_cells(Trial& trial, std::span<const int> clusters, int64_t cells) {
  const auto by_cluster = trial.normal(clusters.back() + 1);
  const auto by_prompt = trial.normal(std::ssize(clusters));
  auto values = trial.normal(std::ssize(clusters) * cells);
  for (int64_t i = 0; i < std::ssize(values); ++i) {
    const int64_t prompt = i / cells;
    values[i] += 2.0 * by_cluster[clusters[prompt]] + by_prompt[prompt];
    values[i] *= 1.0 + static_cast<double>(i % cells);
  }
  return values;
}

TEST(NominalRates, SignFlipsOfOneCellAndOfManyTogether) {
  const std::vector<int> clusters{0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 6, 7, 7, 8, 9, 10, 11};
  for (const auto statistic : {CellStatistic::studentised, CellStatistic::mean}) {
    int one = 0;
    const int any = count_findings("flips", [&](Trial& trial) {
      const auto values = dependent_cells(trial, clusters, 6);
      const auto flips =
          draw_sign_flips(12, {.flips = kDraws, .seed = trial.number, .purpose = "flips"});
      const auto tests =
          sign_flip_tests({values, 17, 6}, clusters, flips, {.statistic = statistic});
      one += tests[2].p_value <= kLevel ? 1 : 0;
      return std::any_of(tests.begin(), tests.end(),
                         [](const CellTest& test) { return test.adjusted_p_value <= kLevel; });
    });
    expect_rate(one, "nominal");
    expect_rate(any, "nominal");
  }
}

TEST(NominalRates, AdjustmentsOfTwentyIndependentTests) {
  int by_holm = 0;
  const int by_rate = count_findings("adjustments", [&](Trial& trial) {
    std::vector<double> p_values(20);
    for (double& p : p_values) p = trial.stream.uniform();
    const auto adjusted = holm(p_values);
    by_holm += *std::min_element(adjusted.begin(), adjusted.end()) <= kLevel ? 1 : 0;
    const auto q_values = benjamini_hochberg(p_values);
    return *std::min_element(q_values.begin(), q_values.end()) <= kLevel;
  });
  expect_rate(by_rate, "nominal");  // exactly the level when every null is true
  expect_rate(by_holm, "holm");
}

TEST(NominalRates, HeadsPermutedAcrossLayers) {
  const auto count = [](int64_t layers, int64_t heads, double fraction) {
    return count_findings("heads", [&](Trial& trial) {
      const auto result = permute_heads(
          trial.normal(layers * heads), layers, heads,
          {.draws = kDraws, .top_fraction = fraction, .seed = trial.number, .purpose = "heads"});
      return result.p_value <= kLevel;
    });
  };
  expect_rate(count(6, 5, 1.0), "nominal");
  expect_rate(count(4, 20, 0.25), "nominal");
  // The two largest heads share a layer in 4 of 29 arrangements: no p-value is smaller.
  EXPECT_EQ(count(6, 5, 0.4), 0);
}

TEST(NominalRates, PeakAboveItsNull) {
  // Twelve layers that differ in level and spread. A bound for one layer is passed by the largest
  // of twelve far too often; the simultaneous one, and the test, hold.
  int above_one = 0, above_all = 0;
  const int tested = count_findings("peak", [&](Trial& trial) {
    auto profiles = trial.normal((1 + kDraws) * 12);
    for (int64_t i = 0; i < std::ssize(profiles); ++i) {
      const auto layer = static_cast<double>(i % 12);
      profiles[i] = 1.0 + 0.1 * layer + 0.01 * (1.0 + layer) * profiles[i];
    }
    const auto all = std::span<const double>(profiles);
    const auto observed = all.first(12), nulls = all.subspan(12);
    const NullBand band = null_band(nulls, kDraws, 12, {0.05, 0.95});
    const auto is_above = [&](std::span<const double> upper) {
      for (int64_t layer = 0; layer < 12; ++layer)
        if (observed[layer] > upper[layer]) return true;
      return false;
    };
    above_one += is_above(band.upper) ? 1 : 0;
    above_all += is_above(band.simultaneous_upper) ? 1 : 0;
    return studentised_peak(observed, nulls, kDraws).p_value <= kLevel;
  });
  expect_rate(tested, "nominal");
  EXPECT_GT(above_one, kTrials / 3);
  // The draws' own spread is in their band, the profile's is not: a little above the level.
  EXPECT_LT(above_all, kTrials / 10);
}

/// How often the sum over randomly chosen heads of an 8 by 8 grid beats random draws.
int count_draws(DrawMatch match, ChosenHeads rule, uint32_t k) {
  std::vector<HeadPlace> grid(64);
  for (int32_t place = 0; place < 64; ++place) grid[place] = {place / 8, place % 8};
  return count_findings("draws", [&](Trial& trial) {
    const auto effects = trial.normal(64);
    std::vector<HeadPlace> chosen;
    double observed = 0.0;
    for (const uint32_t place : trial.stream.sample_without_replacement(64, k)) {
      chosen.push_back(grid[place]);
      observed += effects[place];
    }
    const auto picks = draw_heads(grid, chosen,
                                  {.draws = kDraws,
                                   .match = match,
                                   .chosen = rule,
                                   .seed = trial.number,
                                   .purpose = "draws"});
    std::vector<double> sums;
    for (size_t at = 0; at < picks.size(); at += k)
      sums.push_back(
          std::accumulate(picks.begin() + at, picks.begin() + at + k, 0.0,
                          [&](double sum, int32_t pick) { return sum + effects[pick]; }));
    return compare_with_draws(observed, sums, {}, Alternative::greater).p_value <= kLevel;
  });
}

TEST(NominalRates, ChosenHeadsAgainstRandomOnes) {
  expect_rate(count_draws(DrawMatch::uniform, ChosenHeads::allowed, 4), "nominal");
  expect_rate(count_draws(DrawMatch::layer, ChosenHeads::allowed, 4), "nominal");
  // Why the chosen heads have to be among those that can be drawn: one head in its layer of eight.
  EXPECT_LT(count_draws(DrawMatch::layer, ChosenHeads::allowed, 1), kTrials / 20);
  EXPECT_GT(count_draws(DrawMatch::layer, ChosenHeads::excluded, 1), kTrials / 10);
}

/// True and null sources of random prompts, as keys [query, key] of an attention pattern.
struct NullPrompts {
  static constexpr int kPrompts = 12, kTokens = 24, kNulls = 10;
  using Pairs = std::vector<std::pair<int32_t, int32_t>>;
  std::vector<Pairs> truth;               ///< [prompt]
  std::vector<std::vector<Pairs>> nulls;  ///< [prompt][draw]

  NullPrompts() {
    for (uint32_t prompt = 0; prompt < kPrompts; ++prompt) add(prompt);
  }

  void add(uint32_t prompt) {
    RandomStream stream(1, "nominal/prompts", prompt);
    std::vector<int32_t> tokens(kTokens);
    for (int32_t& token : tokens) token = static_cast<int32_t>(stream.below(12));
    std::vector<CopyOperation> copies;
    for (int32_t query = 0; query < kTokens; ++query)
      for (int32_t source = query - 2; source >= 0; --source)
        if (tokens[source] == tokens[query]) copies.push_back({query, source});
    std::vector<int64_t> lags;
    count_lags(copies, lags);
    auto& of_prompt = nulls.emplace_back();
    std::vector<uint8_t> has_null(copies.size(), 1);
    std::vector<std::vector<int32_t>> sources;
    for (uint32_t draw = 0; draw < kNulls; ++draw) {
      sources.push_back(
          match_antecedents(tokens, copies, lags, {}, {1, "nominal", prompt, draw}).sources);
      for (size_t i = 0; i < copies.size(); ++i)
        if (sources.back()[i] < 0) has_null[i] = 0;
    }
    const auto keys = [&](auto source_of) {
      Pairs pairs;
      for (size_t i = 0; i < copies.size(); ++i)
        if (has_null[i] != 0) pairs.emplace_back(copies[i].query, source_of(i) + 1);
      return pairs;
    };
    truth.push_back(keys([&](size_t i) { return copies[i].source; }));
    for (const auto& drawn : sources) of_prompt.push_back(keys([&](size_t i) { return drawn[i]; }));
  }

  static double score(const Pairs& pairs, std::span<const double> pattern) {
    double sum = 0.0;
    for (const auto& [query, key] : pairs) sum += pattern[query * kTokens + key];
    return sum / static_cast<double>(pairs.size());
  }
};

TEST(NominalRates, AttentionAtRandomAgainstMatchedAntecedents) {
  const NullPrompts prompts;
  constexpr int kCells = 3, kPrompts = NullPrompts::kPrompts;
  for (const auto& pairs : prompts.truth) ASSERT_GE(pairs.size(), 4U);
  const int found = count_findings("antecedents", [&](Trial& trial) {
    std::vector<double> differences;
    std::vector<double> pattern(NullPrompts::kTokens * NullPrompts::kTokens);
    for (int cell = 0; cell < kPrompts * kCells; ++cell) {
      const int prompt = cell / kCells;
      for (double& weight : pattern) weight = trial.stream.uniform();
      double nulls = 0.0;
      for (const auto& pairs : prompts.nulls[prompt]) nulls += NullPrompts::score(pairs, pattern);
      differences.push_back(NullPrompts::score(prompts.truth[prompt], pattern) -
                            nulls / NullPrompts::kNulls);
    }
    const auto flips =
        draw_sign_flips(kPrompts, {.flips = kDraws, .seed = trial.number, .purpose = "flips"});
    const auto tests = sign_flip_tests({differences, kPrompts, kCells},
                                       testing::own_clusters(kPrompts), flips, {});
    return std::any_of(tests.begin(), tests.end(),
                       [](const CellTest& test) { return test.adjusted_p_value <= kLevel; });
  });
  expect_rate(found, "nominal");
}

}  // namespace
}  // namespace mechsweep
