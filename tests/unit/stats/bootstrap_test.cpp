#include "stats/bootstrap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::expect_same;
using testing::number;
using testing::numbers;
using testing::own_clusters;
using testing::stats_golden;

void expect_golden(const std::vector<CellEstimate>& cells, const Json& golden) {
  ASSERT_EQ(cells.size(), golden.size());
  for (size_t c = 0; c < cells.size(); ++c) {
    const Json& expected = golden[c];
    const BootstrapIntervals& intervals = cells[c].intervals;
    const std::string cell = "cell " + std::to_string(c) + " ";
    EXPECT_EQ(cells[c].prompts, expected["prompts"].get<int64_t>()) << cell;
    EXPECT_EQ(cells[c].clusters, expected["clusters"].get<int64_t>()) << cell;
    const std::vector<std::pair<const char*, double>> actual = {
        {"estimate", cells[c].estimate},
        {"standard_error", intervals.standard_error},
        {"percentile_low", intervals.percentile_low},
        {"percentile_high", intervals.percentile_high},
        {"bca_low", intervals.bca_low},
        {"bca_high", intervals.bca_high},
    };
    for (const auto& [name, value] : actual)
      expect_same(value, number(expected[name]), 1e-11, cell + name);
  }
}

struct GivenCounts {
  std::vector<int> clusters;
  std::vector<double> values, denominator;
  ResampleCounts resamples;
  double level = 0.0;
  int64_t cells = 0;
};

GivenCounts given_counts() {
  const Json& golden = stats_golden()["given_counts"];
  GivenCounts given;
  given.clusters = golden["clusters"].get<std::vector<int>>();
  given.values = numbers(golden["values"]);
  given.denominator = numbers(golden["denominator"]);
  given.resamples.resamples = std::ssize(golden["counts"]);
  given.resamples.clusters = std::ssize(golden["counts"][0]);
  for (const double count : numbers(golden["counts"]))
    given.resamples.counts.push_back(static_cast<uint16_t>(count));
  given.level = golden["level"].get<double>();
  given.cells = std::ssize(golden["values"][0]);
  return given;
}

TEST(Bootstrap, MeansWithGivenResamplesMatchTheSlowImplementation) {
  const GivenCounts g = given_counts();
  const PromptCells values{g.values, std::ssize(g.clusters), g.cells};
  expect_golden(bootstrap_means(values, g.clusters, g.resamples, g.level, {0, g.cells}),
                stats_golden()["given_counts"]["means"]);
}

TEST(Bootstrap, RatiosWithGivenResamplesMatchTheSlowImplementation) {
  const GivenCounts g = given_counts();
  const PromptCells values{g.values, std::ssize(g.clusters), g.cells};
  const PromptCells denominator{g.denominator, std::ssize(g.clusters), g.cells};
  expect_golden(
      bootstrap_ratios(values, denominator, g.clusters, g.resamples, g.level, {0, g.cells}),
      stats_golden()["given_counts"]["ratios"]);
}

TEST(Bootstrap, AgreesWithSciPyWithinMonteCarloError) {
  // SciPy used 200,000 resamples; NAME_sd is the standard deviation of its answer from 40,000, the
  // number used here, over 30 repetitions. The difference of the two has sqrt(1 + 1/5) times that.
  const Json& golden = stats_golden()["scipy_bootstrap"];
  const auto values = numbers(golden["values"]);
  const auto clusters = golden["clusters"].get<std::vector<int>>();
  const BootstrapIntervals actual =
      bootstrap_means({values, std::ssize(values), 1}, clusters,
                      {40000, golden["level"].get<double>(), 11, "test"})[0]
          .intervals;
  const auto check = [&golden](double value, const std::string& name) {
    const double tolerance = 5.0 * std::sqrt(1.2) * number(golden[name + "_sd"]);
    EXPECT_NEAR(value, number(golden[name]), tolerance) << name;
    return tolerance;
  };
  check(actual.standard_error, "standard_error");
  check(actual.percentile_low, "percentile_low");
  check(actual.bca_low, "bca_low");
  const double tolerance =
      check(actual.percentile_high, "percentile_high") + check(actual.bca_high, "bca_high");
  // These tolerances must tell the two intervals apart, or the check would be empty.
  EXPECT_GT(number(golden["bca_high"]) - number(golden["percentile_high"]), tolerance);
}

std::vector<double> random_values(int64_t count, uint64_t seed) {
  RandomStream stream(seed, "bootstrap_test");
  std::vector<double> values(count);
  for (double& value : values) value = stream.uniform() - 0.4;
  return values;
}

/// Equality of every bit, NaN included.
void expect_identical(const CellEstimate& a, const CellEstimate& b) {
  const auto bits = [](const CellEstimate& e) {
    const BootstrapIntervals& i = e.intervals;
    std::vector<uint64_t> all{static_cast<uint64_t>(e.prompts), static_cast<uint64_t>(e.clusters),
                              static_cast<uint64_t>(i.replicates)};
    for (const double x :
         {e.estimate, i.standard_error, i.percentile_low, i.percentile_high, i.bca_low, i.bca_high})
      all.push_back(std::bit_cast<uint64_t>(x));
    return all;
  };
  EXPECT_EQ(bits(a), bits(b));
}

TEST(Bootstrap, AnyRangeOfCellsGivesTheNumbersOfTheWhole) {
  const int64_t cells = 101;
  auto values = random_values(20 * cells, 3);
  values[7] = values[3 * cells + 50] = std::nan("");
  const auto clusters = own_clusters(20);
  const BootstrapOptions options{300, 0.95, 5, "ranges"};
  const PromptCells all{values, 20, cells};
  const auto whole = bootstrap_means(all, clusters, options);
  const auto drawn = draw_resamples(20, options);
  for (const Range range : {Range{0, 1}, {1, 8}, {13, 77}, {50, 51}, {31, 101}, {40, 40}}) {
    const auto part = bootstrap_means(all, clusters, drawn, 0.95, range);
    ASSERT_EQ(std::ssize(part), range.size());
    for (int64_t c = 0; c < range.size(); ++c) expect_identical(part[c], whole[range.begin + c]);
  }
}

TEST(Bootstrap, ResamplesDrawEveryClusterEquallyOften) {
  const auto drawn = draw_resamples(16, {5000, 0.95, 1, "uniform"});
  std::vector<int64_t> totals(16, 0);
  for (int64_t b = 0; b < drawn.resamples; ++b) {
    int64_t in_resample = 0;
    for (int64_t g = 0; g < 16; ++g) {
      in_resample += drawn.counts[b * 16 + g];
      totals[g] += drawn.counts[b * 16 + g];
    }
    ASSERT_EQ(in_resample, 16);
  }
  // 80,000 draws, 5,000 expected each with standard deviation 68.
  for (const int64_t total : totals) EXPECT_NEAR(static_cast<double>(total), 5000.0, 5 * 68.5);
}

TEST(Bootstrap, ResamplesDependOnSeedPurposeAndNumberOnly) {
  const auto base = draw_resamples(12, {50, 0.95, 1, "heads"});
  const auto longer = draw_resamples(12, {80, 0.5, 1, "heads"});
  EXPECT_TRUE(std::equal(base.counts.begin(), base.counts.end(), longer.counts.begin()));
  EXPECT_NE(base.counts, draw_resamples(12, {50, 0.95, 2, "heads"}).counts);
  EXPECT_NE(base.counts, draw_resamples(12, {50, 0.95, 1, "scores"}).counts);
}

TEST(Bootstrap, EqualValuesGiveAnIntervalOfNoWidth) {
  const std::vector<double> values(7, 0.1);  // 0.1 summed and divided rounds
  const auto cell = bootstrap_means({values, 7, 1}, own_clusters(7), {200, 0.95, 1, "equal"})[0];
  EXPECT_DOUBLE_EQ(cell.estimate, 0.1);
  EXPECT_EQ(cell.intervals.standard_error, 0.0);
  EXPECT_EQ(cell.intervals.percentile_low, cell.estimate);
  EXPECT_EQ(cell.intervals.percentile_high, cell.estimate);
  EXPECT_EQ(cell.intervals.bca_low, cell.estimate);
  EXPECT_EQ(cell.intervals.bca_high, cell.estimate);
}

TEST(Bootstrap, ClustersWiderThanPromptsWidenTheError) {
  // Prompts of a cluster are copies: clustered, the error is that of 10 values, not of 40.
  std::vector<double> values;
  std::vector<int> clusters;
  const auto means = random_values(10, 8);
  for (int prompt = 0; prompt < 40; ++prompt) {
    values.push_back(means[prompt % 10]);
    clusters.push_back(prompt % 10);
  }
  const PromptCells cells{values, 40, 1};
  const auto clustered = bootstrap_means(cells, clusters, {4000, 0.95, 1, "wide"})[0];
  const auto naive = bootstrap_means(cells, own_clusters(40), {4000, 0.95, 1, "wide"})[0];
  EXPECT_NEAR(clustered.intervals.standard_error / naive.intervals.standard_error, 2.0, 0.2);
}

TEST(Bootstrap, ACellWithoutNumbersIsAllNan) {
  const std::vector<double> values(4, std::nan(""));
  const auto cell = bootstrap_means({values, 4, 1}, own_clusters(4), {100, 0.95, 1, "none"})[0];
  EXPECT_EQ(cell.prompts, 0);
  EXPECT_EQ(cell.clusters, 0);
  EXPECT_TRUE(std::isnan(cell.estimate));
  EXPECT_TRUE(std::isnan(cell.intervals.standard_error));
}

TEST(Bootstrap, ResampledMeansHoldEstimateJackknifeAndResamples) {
  const std::vector<double> values{1, 10, 2, 20, 6, std::nan("")};  // [3 prompts, 2 cells]
  const std::vector<int> clusters{0, 1, 1};
  const ResampleCounts counts{2, 2, {2, 0, 0, 2}};
  const auto means = resampled_means({values, 3, 2}, clusters, counts);
  const std::vector<double> expected{3, 15, 4, 20, 1, 10, 1, 10, 4, 20};
  EXPECT_EQ(means, expected);
}

TEST(Bootstrap, RefusesUselessOptionsInOneSentence) {
  const auto message_of = [](const BootstrapOptions& options) {
    try {
      draw_resamples(3, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      return error.message();
    }
    return std::string("nothing was thrown");
  };
  EXPECT_NE(message_of({1, 0.95, 0, ""}).find("resamples is 1"), std::string::npos);
  EXPECT_NE(message_of({100, 1.0, 0, ""}).find("level is 1"), std::string::npos);
  EXPECT_NE(message_of({100, 0.0, 0, ""}).find("level is 0"), std::string::npos);
}

TEST(Bootstrap, NominalNinetyPercentIntervalsCoverTheTruth) {
  // Sums of four exponentials (mean 4, skewness 1), n = 30, 500 data sets. The binomial standard
  // deviation of the coverage is 1.3%; 86% to 94% is nominal within three of them.
  int percentile = 0, bca = 0;
  for (uint64_t trial = 0; trial < 500; ++trial) {
    RandomStream stream(trial, "coverage");
    std::vector<double> values(30, 0.0);
    for (double& value : values)
      for (int i = 0; i < 4; ++i) value -= std::log(1.0 - stream.uniform());
    const auto cell =
        bootstrap_means({values, 30, 1}, own_clusters(30), {1000, 0.9, trial, "coverage"})[0];
    const BootstrapIntervals& i = cell.intervals;
    percentile += i.percentile_low <= 4.0 && 4.0 <= i.percentile_high;
    bca += i.bca_low <= 4.0 && 4.0 <= i.bca_high;
  }
  EXPECT_GE(percentile, 430);
  EXPECT_LE(percentile, 470);
  EXPECT_GE(bca, 430);
  EXPECT_LE(bca, 470);
}

}  // namespace
}  // namespace mechsweep
