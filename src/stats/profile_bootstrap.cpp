#include "stats/profile_bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "stats/p_value.h"
#include "stats/profile.h"
#include "stats/ranking.h"

namespace mechsweep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Column `layer` of [rows, L].
std::vector<double> column(std::span<const double> values, int64_t layers, int64_t layer) {
  std::vector<double> result;
  result.reserve(values.size() / layers);
  for (auto at = static_cast<size_t>(layer); at < values.size(); at += layers)
    result.push_back(values[at]);
  return result;
}

/// Intervals of a statistic given by row; `size` is the scale of its rounding errors.
BootstrapIntervals intervals_of_rows(std::vector<double> by_row, int64_t clusters, double level,
                                     double size) {
  if (clusters < 2) return undefined_intervals();
  const std::span<double> all(by_row);
  return intervals_of(all.subspan(1 + clusters), by_row[0], all.subspan(1, clusters), level,
                      kRoundingShare * size);
}

double largest_size(std::span<const double> values) {
  double largest = 0.0;
  for (const double value : values)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  return largest;
}

/// Shares of the resamples' peaks by layer and the interval of layers.
void add_peaks(ShapeBootstrap& result, std::span<const ProfileShape> resamples, int64_t layers,
               double level) {
  std::vector<int64_t> counts(layers, 0);
  int64_t total = 0;
  for (const ProfileShape& shape : resamples) {
    if (shape.peak < 0) continue;
    ++counts[shape.peak];
    ++total;
  }
  result.peak_share.assign(layers, total == 0 ? kNan : 0.0);
  if (total == 0) return;
  // At most this many may lie outside on either side; the small term is the rounding of `level`.
  const double outside = (1.0 - level) / 2.0 * static_cast<double>(total) + 1e-9;
  int64_t up_to = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    result.peak_share[layer] = static_cast<double>(counts[layer]) / static_cast<double>(total);
    up_to += counts[layer];
    if (result.peak_low < 0 && static_cast<double>(up_to) > outside) result.peak_low = layer;
    if (result.peak_high < 0 && static_cast<double>(total - up_to) <= outside)
      result.peak_high = layer;
  }
}

void add_shares(ShapeBootstrap& result, std::span<const ProfileShape> resamples) {
  int64_t outside = 0, clipped = 0;
  for (const ProfileShape& shape : resamples) {
    outside += shape.inside_null ? 0 : 1;
    clipped += shape.clipped ? 1 : 0;
  }
  result.outside_share = static_cast<double>(outside) / static_cast<double>(resamples.size());
  result.clipped_share =
      outside == 0 ? kNan : static_cast<double>(clipped) / static_cast<double>(outside);
}

}  // namespace

ProfileRows resampled_top_profiles(const PromptCells& values,
                                   std::span<const int> cluster_of_prompt,
                                   const ResampleCounts& resamples, int64_t layers,
                                   double fraction) {
  ensure(layers >= 1 && values.cells % layers == 0, "cells are [layers, heads]");
  const int64_t heads = values.cells / layers;
  const int64_t rows = 1 + resamples.clusters + resamples.resamples;
  ProfileRows result{std::vector<double>(rows * layers), resamples.clusters, layers};
  std::vector<double> of_layer(values.prompts * heads);
  // Layer by layer, so that not all heads' resamples are in memory at once.
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t prompt = 0; prompt < values.prompts; ++prompt)
      std::copy_n(values.values.begin() + prompt * values.cells + layer * heads, heads,
                  of_layer.begin() + prompt * heads);
    const auto means =
        resampled_means({of_layer, values.prompts, heads}, cluster_of_prompt, resamples);
    const auto profile = top_profile(means, rows, heads, fraction);
    for (int64_t row = 0; row < rows; ++row) result.values[row * layers + layer] = profile[row];
  }
  return result;
}

std::vector<double> resampled_baselines(std::span<const double> null_values, int64_t draws,
                                        int64_t layers, std::span<const int> cluster_of_prompt,
                                        const ResampleCounts& resamples) {
  const auto prompts = std::ssize(cluster_of_prompt);
  ensure(std::ssize(null_values) == prompts * draws * layers,
         "null values are [prompts, draws, layers]");
  const int64_t rows = 1 + resamples.clusters + resamples.resamples;
  std::vector<double> result(rows * layers);
  std::vector<double> of_layer(prompts * draws);
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t i = 0; i < prompts * draws; ++i) of_layer[i] = null_values[i * layers + layer];
    const auto means = resampled_means({of_layer, prompts, draws}, cluster_of_prompt, resamples);
    for (int64_t row = 0; row < rows; ++row)
      result[row * layers + layer] = median(std::span(means).subspan(row * draws, draws));
  }
  return result;
}

ShapeBootstrap bootstrap_shape(const ProfileRows& rows, std::span<const double> baselines,
                               std::span<const double> upper, double level) {
  const int64_t layers = rows.layers;
  const auto count = std::ssize(rows.values) / layers;
  ensure(
      rows.clusters >= 1 && count > 1 + rows.clusters && std::ssize(rows.values) == count * layers,
      "rows hold the estimate, the jackknife and at least one resample");
  ensure(std::ssize(baselines) == layers || baselines.size() == rows.values.size(),
         "baselines are [layers] or [rows, layers]");
  std::vector<ProfileShape> shapes;
  std::vector<double> centroids, bandwidths;
  for (int64_t row = 0; row < count; ++row) {
    const bool fixed = std::ssize(baselines) == layers;
    shapes.push_back(profile_shape(std::span(rows.values).subspan(row * layers, layers),
                                   baselines.subspan(fixed ? 0 : row * layers, layers), upper));
    centroids.push_back(shapes.back().centroid);
    bandwidths.push_back(shapes.back().bandwidth);
  }
  ShapeBootstrap result{.estimate = shapes[0]};
  const double size = largest_size(std::span(rows.values).first(layers));
  for (int64_t layer = 0; layer < layers; ++layer)
    result.profile.push_back(
        intervals_of_rows(column(rows.values, layers, layer), rows.clusters, level, size));
  const std::span resampled = std::span<const ProfileShape>(shapes).subspan(1 + rows.clusters);
  add_peaks(result, resampled, layers, level);
  if (rows.clusters < 2) result.peak_low = result.peak_high = -1;
  add_shares(result, resampled);
  result.centroid =
      intervals_of_rows(std::move(centroids), rows.clusters, level, static_cast<double>(layers));
  result.bandwidth = intervals_of_rows(std::move(bandwidths), rows.clusters, level, 1.0);
  return result;
}

}  // namespace mechsweep
