#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stats/bootstrap.h"
#include "stats/interval.h"
#include "stats/profile_shape.h"

namespace mechsweep {

/// Profiles of all resamples as resampled_means gives them: row 0 the estimate, rows 1..G without
/// one cluster each, rows G+1..G+B the resamples; [1 + G + B, L]. For a mean over heads, or over
/// heads that were chosen once (top_heads), they are resampled_means of layer_profiles.
struct ProfileRows {
  std::vector<double> values;
  int64_t clusters = 0;  ///< G
  int64_t layers = 0;    ///< L
};

/// Rows of top-fraction profiles whose heads are chosen again in every row, by that row's own means
/// over prompts (top_profile): intervals then hold the uncertainty of which heads are the top. Each
/// row's choice profits from that row's noise, the estimate's once, a resample's twice: replicates
/// lie above the estimate by about as much as the estimate lies above the truth, which BCa sees as
/// bias and the percentile interval does not. Heads chosen on other prompts have neither
/// (top_heads). `values` is [P, L * H]; where prompts are NaN in some heads only, a head's mean
/// over its prompts comes first here, and the mean over heads second.
ProfileRows resampled_top_profiles(const PromptCells& values,
                                   std::span<const int> cluster_of_prompt,
                                   const ResampleCounts& resamples, int64_t layers,
                                   double fraction);

/// Baselines that go with the rows of a profile: the median over N null draws of the null profile,
/// resample by resample with the same prompts, [1 + G + B, L]. `null_values` are the profiles of
/// all prompts under all draws, [P, N, L].
std::vector<double> resampled_baselines(std::span<const double> null_values, int64_t draws,
                                        int64_t layers, std::span<const int> cluster_of_prompt,
                                        const ResampleCounts& resamples);

/// How sure a profile, its peak, its centroid and its bandwidth are.
struct ShapeBootstrap {
  ProfileShape estimate;
  std::vector<BootstrapIntervals> profile;  ///< [L]
  /// Layers between which at least `level` of the resamples' peaks lie, at most (1 - level) / 2 of
  /// them on either side: a percentile interval that ends at layers. A peak is discrete: it has no
  /// standard error worth the name and no BCa interval. -1 where no resample has a peak, or with
  /// fewer than 2 clusters.
  int64_t peak_low = -1;
  int64_t peak_high = -1;
  std::vector<double> peak_share;  ///< [L], share of the resamples with a peak; sums to 1
  BootstrapIntervals centroid;     ///< in positions (ProfileShape)
  BootstrapIntervals bandwidth;    ///< of the resamples with a bandwidth
  double outside_share = 0.0;      ///< share of the resamples whose peak lies outside the null
  double clipped_share = 0.0;      ///< of those, the share with a clipped run; NaN if none
};

/// Cluster bootstrap of profile_shape. `baselines` is [L], the same for all rows, or [1 + G + B, L]
/// (resampled_baselines); `upper` [L] is the same for all. Intervals as intervals_of makes them,
/// with 0 < level < 1, rows that are NaN left out; with fewer than 2 clusters they are NaN, since
/// every resample is the estimate.
///
/// A fixed baseline leaves the null's own uncertainty over prompts out of the intervals. Bandwidth
/// jumps when a second hump joins the run, so that its percentile interval is the one to quote, and
/// it is conditional on being outside the null: read it with outside_share. A cluster without any
/// value has the estimate as its jackknife value.
ShapeBootstrap bootstrap_shape(const ProfileRows& rows, std::span<const double> baselines,
                               std::span<const double> upper, double level);

}  // namespace mechsweep
