#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "experiments/experiment.h"
#include "experiments/summary.h"

namespace mechsweep {

/// What a score's layer profile is compared with: the same score at null sources.
struct ProfileNull {
  int64_t draws = 0;
  std::vector<double> profiles;  ///< [P, draws, L], means over heads; NaN: the prompt has none
  std::vector<double> heads;     ///< [P, draws, L, H]; empty: no profile of top heads is asked for
  double top_fraction = 1.0;
  /// Top heads are chosen again in every resample and every null draw; else once, on half_a of the
  /// prompts, and profiled on half_b.
  bool chosen_anew = false;
};

/// A layer profile with a null, of the prompts that count (P of them, in order).
struct NullProfile {
  int64_t layers = 0;
  int64_t heads = 0;  ///< of `values`: H where heads are chosen anew, else 1
  int64_t draws = 0;
  double fraction = 1.0;              ///< below 1: the heads of `values` are chosen in every row
  std::vector<double> values;         ///< [P, L * heads]
  std::vector<double> nulls;          ///< [P, draws, L]; empty where heads are chosen anew
  std::vector<double> null_profiles;  ///< [draws, L], means over prompts
  std::vector<double> scores;  ///< [L, H] to be permuted, means over prompts; empty: none are
  int64_t score_heads = 0;     ///< H of `scores`
};

/// The names of SummaryMetric::further of a profile with a null, by layer: quantiles of the null
/// (null_band), the share of the resamples' peaks, and quantiles of profiles of permuted heads.
inline constexpr const char* kNullColumns[] = {
    "null_median", "null_lower", "null_upper", "null_simultaneous_lower", "null_simultaneous_upper",
    "peak_share"};
inline constexpr const char* kPermutationColumns[] = {
    "permuted_median", "permuted_lower", "permuted_upper", "permuted_simultaneous_lower",
    "permuted_simultaneous_upper"};
/// Of the score's own heads: 1 where a head belongs to the top heads, 0 where not.
inline constexpr const char* kTopColumn = "top_head";

/// Names of the metrics that are made of a score `NAME` with a null.
inline constexpr const char* kTopProfileSuffix = "_top_layer_profile";
inline constexpr const char* kShapeSuffix = "_shape";  ///< after that of the profile
inline constexpr const char* kQuantityAxis = "quantity";

/// The labels of kQuantityAxis (docs/statistics.md, "Layer profiles").
const std::vector<std::string>& shape_quantities();

/// Adds to `summary.metrics` the profiles of the last metric, which is `metric` reduced to the
/// counted prompts, with their null, and the shape of each: NAME_layer_profile,
/// NAME_layer_profile_shape, and of the top heads NAME_top_layer_profile and its shape. Gives the
/// score the column kTopColumn where heads are chosen. Throws Error{input} when the null's arrays
/// do not have the score's sizes.
void add_null_profiles(const Metric& metric, const StoredRun& run,
                       const std::vector<int64_t>& counted, RunSummary& summary);

/// summarise_metric() of a profile with a null and of its shape.
MetricSummary summarise_null_profile(const RunSummary& run, const SummaryMetric& metric,
                                     uint64_t seed);

}  // namespace mechsweep
