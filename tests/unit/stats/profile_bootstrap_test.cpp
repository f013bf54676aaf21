#include "stats/profile_bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stats/profile.h"
#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::expect_all_same;
using testing::expect_same;
using testing::number;
using testing::numbers;

struct Given {
  const Json& golden = testing::stats_golden()["shape_bootstrap"];
  std::vector<int> clusters = golden["clusters"].get<std::vector<int>>();
  std::vector<double> values = numbers(golden["values"]);  // [P, 6, 4]
  std::vector<double> nulls = numbers(golden["nulls"]);    // [P, 5, 6]
  std::vector<double> upper = numbers(golden["upper"]);
  double level = golden["level"].get<double>();
  int64_t prompts = std::ssize(clusters);
  ResampleCounts resamples{std::ssize(golden["counts"]), 9, {}};

  Given() {
    for (const double count : numbers(golden["counts"]))
      resamples.counts.push_back(static_cast<uint16_t>(count));
  }
  [[nodiscard]] ProfileRows top_rows() const {
    return resampled_top_profiles({values, prompts, 24}, clusters, resamples, 6,
                                  golden["top_fraction"].get<double>());
  }
  [[nodiscard]] std::vector<double> baselines() const {
    return resampled_baselines(nulls, 5, 6, clusters, resamples);
  }
};

void expect_intervals(const BootstrapIntervals& actual, const Json& expected,
                      const std::string& what) {
  EXPECT_EQ(actual.replicates, expected["replicates"].get<int64_t>()) << what;
  expect_same(actual.standard_error, number(expected["standard_error"]), 1e-11, what + " error");
  expect_same(actual.percentile_low, number(expected["percentile_low"]), 1e-11, what + " low");
  expect_same(actual.percentile_high, number(expected["percentile_high"]), 1e-11, what + " high");
  expect_same(actual.bca_low, number(expected["bca_low"]), 1e-11, what + " bca low");
  expect_same(actual.bca_high, number(expected["bca_high"]), 1e-11, what + " bca high");
}

void expect_answer(const ShapeBootstrap& actual, const Json& expected) {
  EXPECT_EQ(actual.estimate.peak, expected["estimate"]["peak"].get<int64_t>());
  expect_same(actual.estimate.centroid, number(expected["estimate"]["centroid"]), 1e-12,
              "centroid");
  expect_same(actual.estimate.bandwidth, number(expected["estimate"]["bandwidth"]), 1e-12, "width");
  ASSERT_EQ(actual.profile.size(), expected["profile"].size());
  for (size_t layer = 0; layer < actual.profile.size(); ++layer)
    expect_intervals(actual.profile[layer], expected["profile"][layer],
                     "layer " + std::to_string(layer));
  expect_all_same(actual.peak_share, numbers(expected["peak_share"]), 1e-12, "peak share");
  EXPECT_EQ(actual.peak_low, expected["peak_low"].get<int64_t>());
  EXPECT_EQ(actual.peak_high, expected["peak_high"].get<int64_t>());
  expect_same(actual.outside_share, number(expected["outside_share"]), 1e-12, "outside");
  expect_same(actual.clipped_share, number(expected["clipped_share"]), 1e-12, "clipped");
  expect_intervals(actual.centroid, expected["centroid"], "centroid");
  expect_intervals(actual.bandwidth, expected["bandwidth"], "bandwidth");
}

TEST(ProfileBootstrap, MeanOverHeadsWithAFixedBaselineMatchesTheSlowImplementation) {
  const Given given;
  const auto profiles = layer_profiles(given.values, given.prompts, 6, 4);
  const ProfileRows rows{
      resampled_means({profiles, given.prompts, 6}, given.clusters, given.resamples), 9, 6};
  const auto baselines = given.baselines();
  expect_answer(bootstrap_shape(rows, std::span(baselines).first(6), given.upper, given.level),
                given.golden["fixed"]);
}

TEST(ProfileBootstrap, TopHeadsChosenAgainWithTheirBaselinesMatchTheSlowImplementation) {
  const Given given;
  expect_answer(bootstrap_shape(given.top_rows(), given.baselines(), given.upper, given.level),
                given.golden["moving"]);
}

TEST(ProfileBootstrap, RowsMatchTheSlowImplementation) {
  const Given given;
  const auto expected_rows = numbers(given.golden["top_rows"]);
  const auto expected_baselines = numbers(given.golden["baselines"]);
  const auto rows = given.top_rows().values;
  const auto baselines = given.baselines();
  expect_all_same(std::span(rows).first(expected_rows.size()), expected_rows, 1e-13, "rows");
  expect_all_same(std::span(baselines).first(expected_baselines.size()), expected_baselines, 1e-13,
                  "baselines");
}

/// Two clusters and resamples whose peaks are given.
ProfileRows rows_with_peaks(std::span<const int> counts) {
  ProfileRows rows{{}, 2, std::ssize(counts)};
  const auto add = [&](size_t peak) {
    for (size_t layer = 0; layer < counts.size(); ++layer)
      rows.values.push_back(layer == peak ? 1.0 : 0.0);
  };
  for (int row = 0; row < 3; ++row) add(0);
  for (size_t layer = 0; layer < counts.size(); ++layer)
    for (int i = 0; i < counts[layer]; ++i) add(layer);
  return rows;
}

TEST(ProfileBootstrap, PeakIntervalsEndAtLayersAndHoldTheLevel) {
  const std::vector<double> zeros(5, 0.0);
  const auto interval = [&](const std::vector<int>& counts) {
    const auto answer = bootstrap_shape(rows_with_peaks(counts), zeros, zeros, 0.9);
    return std::pair(answer.peak_low, answer.peak_high);
  };
  // 100 resamples: up to 5 may lie outside on either side.
  EXPECT_EQ(interval({5, 90, 0, 0, 5}), std::pair(int64_t{1}, int64_t{1}));
  EXPECT_EQ(interval({6, 89, 0, 0, 5}), std::pair(int64_t{0}, int64_t{1}));
  EXPECT_EQ(interval({5, 40, 0, 49, 6}), std::pair(int64_t{1}, int64_t{4}));
  EXPECT_EQ(interval({0, 0, 100, 0, 0}), std::pair(int64_t{2}, int64_t{2}));
}

TEST(ProfileBootstrap, RowsWithoutAPeakOrInsideTheNullAreCounted) {
  const double nan = std::nan("");
  // The estimate and two jackknife rows, then: outside, no profile, inside, outside and clipped.
  const ProfileRows rows{
      {0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, nan, nan, nan, 0, 0, 0.3, 0, 1, 0.9}, 2, 3};
  const std::vector<double> zeros(3, 0.0), upper(3, 0.5);
  const auto answer = bootstrap_shape(rows, zeros, upper, 0.9);
  EXPECT_DOUBLE_EQ(answer.outside_share, 0.5);
  EXPECT_DOUBLE_EQ(answer.clipped_share, 0.5);
  EXPECT_EQ(answer.bandwidth.replicates, 2);
  EXPECT_EQ(answer.centroid.replicates, 3);
  expect_all_same(answer.peak_share, std::vector{0.0, 2.0 / 3.0, 1.0 / 3.0}, 1e-15, "share");
}

TEST(ProfileBootstrap, OneClusterHasNoIntervals) {
  const std::vector<double> values{0.0, 1.0, 0.2, 0.0, 1.0, 0.3}, zeros(3, 0.0);  // [2, 3]
  const std::vector<int> clusters{0, 0};
  const ProfileRows rows{resampled_means({values, 2, 3}, clusters, {4, 1, {1, 1, 1, 1}}), 1, 3};
  const auto answer = bootstrap_shape(rows, zeros, zeros, 0.9);
  EXPECT_EQ(answer.estimate.peak, 1);
  EXPECT_TRUE(std::isnan(answer.centroid.standard_error));
  EXPECT_TRUE(std::isnan(answer.bandwidth.percentile_low));
  EXPECT_TRUE(std::isnan(answer.profile[1].bca_high));
  EXPECT_EQ(answer.peak_low, -1);
}

}  // namespace
}  // namespace mechsweep
