#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "experiments/profile_null.h"
#include "stats/head_permutation.h"
#include "stats/null_band.h"
#include "stats/profile_bootstrap.h"
#include "stats/profile_shape.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Prompts and clusters with a value, by layer.
struct Counts {
  std::vector<int64_t> prompts;
  std::vector<int64_t> clusters;
};

Counts counts_of(const RunSummary& run, const NullProfile& profile) {
  Counts counts;
  for (int64_t layer = 0; layer < profile.layers; ++layer) {
    std::vector<uint8_t> seen(run.cluster_count, 0);
    int64_t prompts = 0;
    for (int64_t p = 0; p < run.prompts; ++p) {
      const auto row = profile.values.begin() + (p * profile.layers + layer) * profile.heads;
      if (std::all_of(row, row + profile.heads, [](double v) { return std::isnan(v); })) continue;
      ++prompts;
      seen[run.clusters[p]] = 1;
    }
    counts.prompts.push_back(prompts);
    counts.clusters.push_back(std::count(seen.begin(), seen.end(), 1));
  }
  return counts;
}

/// Everything that is computed of a profile.
struct Analysis {
  NullBand band;
  PeakTest peak;
  ShapeBootstrap shape;
  std::vector<double> profile;  ///< [L]
  HeadPermutation permutation;  ///< of the means over heads; p_value is NaN where none is made
};

Analysis analyse(const RunSummary& run, const NullProfile& profile, uint64_t seed) {
  const BootstrapOptions options{.resamples = run.statistics.resamples,
                                 .level = run.statistics.level,
                                 .seed = seed,
                                 .purpose = "bootstrap/" + run.id};
  const double outside = (1.0 - run.statistics.level) / 2.0;
  const BandShares shares{.lower = outside, .upper = 1.0 - outside};
  const ResampleCounts resamples = draw_resamples(run.cluster_count, options);
  const PromptCells values{profile.values, run.prompts, profile.layers * profile.heads};
  Analysis analysis;
  analysis.band = null_band(profile.null_profiles, profile.draws, profile.layers, shares);
  ProfileRows rows;
  std::vector<double> baselines = analysis.band.median;
  if (profile.fraction < 1.0) {
    rows =
        resampled_top_profiles(values, run.clusters, resamples, profile.layers, profile.fraction);
  } else {
    rows = {resampled_means(values, run.clusters, resamples), run.cluster_count, profile.layers};
    baselines =
        resampled_baselines(profile.nulls, profile.draws, profile.layers, run.clusters, resamples);
  }
  analysis.profile.assign(rows.values.begin(), rows.values.begin() + profile.layers);
  analysis.peak = studentised_peak(analysis.profile, profile.null_profiles, profile.draws);
  analysis.shape =
      bootstrap_shape(rows, baselines, analysis.band.simultaneous_upper, run.statistics.level);
  analysis.permutation.p_value = kNaN;
  if (!profile.scores.empty())
    analysis.permutation = permute_heads(profile.scores, profile.layers, profile.score_heads,
                                         {.draws = run.statistics.permutations,
                                          .shares = shares,
                                          .seed = seed,
                                          .purpose = "permutation/" + run.id});
  return analysis;
}

MetricSummary layers_of(const NullProfile& profile, const Counts& counts, Analysis&& analysis) {
  MetricSummary summary;
  for (int64_t layer = 0; layer < profile.layers; ++layer)
    summary.cells.push_back({analysis.profile[layer], counts.prompts[layer], counts.clusters[layer],
                             analysis.shape.profile[layer]});
  NullBand& band = analysis.band;
  summary.further = {std::move(band.median),
                     std::move(band.lower),
                     std::move(band.upper),
                     std::move(band.simultaneous_lower),
                     std::move(band.simultaneous_upper),
                     std::move(analysis.shape.peak_share)};
  if (profile.scores.empty()) return summary;
  NullBand& permuted = analysis.permutation.band;
  for (std::vector<double>* column : {&permuted.median, &permuted.lower, &permuted.upper,
                                      &permuted.simultaneous_lower, &permuted.simultaneous_upper})
    summary.further.push_back(std::move(*column));
  return summary;
}

/// Applies `map`, which increases, to an estimate and its bounds; `scale` is its slope.
BootstrapIntervals mapped(const BootstrapIntervals& of, double scale, double shift) {
  BootstrapIntervals result = of;
  result.standard_error *= scale;
  for (double BootstrapIntervals::*bound :
       {&BootstrapIntervals::percentile_low, &BootstrapIntervals::percentile_high,
        &BootstrapIntervals::bca_low, &BootstrapIntervals::bca_high})
    result.*bound = of.*bound * scale + shift;
  return result;
}

BootstrapIntervals peak_interval(const ShapeBootstrap& shape) {
  BootstrapIntervals interval = undefined_intervals();
  if (shape.peak_low >= 0) interval.percentile_low = static_cast<double>(shape.peak_low);
  if (shape.peak_high >= 0) interval.percentile_high = static_cast<double>(shape.peak_high);
  return interval;
}

/// Numbers by the name of their quantity.
struct Quantity {
  const char* name;
  double value = kNaN;
  BootstrapIntervals intervals = undefined_intervals();
};

std::vector<Quantity> quantities_of(int64_t layers, const Analysis& analysis) {
  const ShapeBootstrap& boot = analysis.shape;
  const ProfileShape& shape = boot.estimate;
  const bool has_peak = shape.peak >= 0;
  const double peak = has_peak ? static_cast<double>(shape.peak) : kNaN;
  const double slope = 1.0 / static_cast<double>(layers), half = slope / 2.0;
  const BootstrapIntervals at = peak_interval(boot);
  const auto here = has_peak ? boot.profile[shape.peak] : undefined_intervals();
  return {
      {"peak_layer", peak, at},
      {"peak_depth", depth_of(peak, layers), mapped(at, slope, 0.0)},
      {"peak_centre_depth", centre_depth_of(peak, layers), mapped(at, slope, half)},
      {"peak_value", shape.peak_value, here},
      {"peak_excess", shape.peak_excess},
      {"inside_null", shape.inside_null ? 1.0 : 0.0},
      {"outside_null_share", boot.outside_share},
      {"peak_p_value", analysis.peak.p_value},
      {"permutation_p_value", analysis.permutation.p_value},
      {"centroid_depth", depth_of(shape.centroid, layers), mapped(boot.centroid, slope, 0.0)},
      {"centroid_centre_depth", centre_depth_of(shape.centroid, layers),
       mapped(boot.centroid, slope, half)},
      {"bandwidth", shape.bandwidth, boot.bandwidth},
      {"left_centre_depth", centre_depth_of(shape.left, layers)},
      {"right_centre_depth", centre_depth_of(shape.right, layers)},
      {"clipped", shape.inside_null ? kNaN
                  : shape.clipped   ? 1.0
                                    : 0.0},
      {"clipped_share", boot.clipped_share},
  };
}

}  // namespace

const std::vector<std::string>& shape_quantities() {
  static const std::vector<std::string> kNames = [] {
    Analysis empty;
    empty.shape.profile.assign(1, undefined_intervals());
    std::vector<std::string> names;
    for (const Quantity& quantity : quantities_of(1, empty)) names.emplace_back(quantity.name);
    return names;
  }();
  return kNames;
}

MetricSummary summarise_null_profile(const RunSummary& run, const SummaryMetric& metric,
                                     uint64_t seed) {
  const NullProfile& profile = *metric.null_profile;
  const Counts counts = counts_of(run, profile);
  Analysis analysis = analyse(run, profile, seed);
  if (!metric.is_shape) return layers_of(profile, counts, std::move(analysis));
  MetricSummary summary;
  for (const Quantity& quantity : quantities_of(profile.layers, analysis))
    summary.cells.push_back(
        {quantity.value, *std::max_element(counts.prompts.begin(), counts.prompts.end()),
         *std::max_element(counts.clusters.begin(), counts.clusters.end()), quantity.intervals});
  return summary;
}

}  // namespace mechsweep
