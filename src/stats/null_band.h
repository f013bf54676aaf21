#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mechsweep {

/// Where profiles drawn from a null lie: [L] each. The pointwise band holds in one layer that was
/// named beforehand; the simultaneous one in all layers at once, and so at a peak that was found by
/// looking.
struct NullBand {
  std::vector<double> median;  ///< the baseline of profile_shape
  std::vector<double> lower;
  std::vector<double> upper;
  std::vector<double> simultaneous_lower;
  std::vector<double> simultaneous_upper;
};

/// The shares of the null below the two bounds of a band.
struct BandShares {
  double lower = 0.025;
  double upper = 0.975;
};

/// Summarises null `profiles` [N, L]. Pointwise bounds are quantiles of each layer (see
/// quantile_of_sorted). A simultaneous bound is median + c * sd with the layer's own standard
/// deviation, c being the `upper` quantile over draws of max_l (profile - median) / sd (for the
/// lower bound the `lower` quantile of the minimum): the studentised deviation envelope of
/// Myllymaki, Mrkvicka, Grabarnik, Seijo and Hahn, "Global envelope tests for spatial processes",
/// JRSS B 79 (2017) 381-404. Bands are for looking; studentised_peak
/// tests: noise passes a simultaneous .95 bound in 7 of 100 cases with 99 draws and 12 layers.
///
/// Numbers that are not finite are left out of their layer; with fewer than 2 left it is NaN in all
/// five. A layer where all draws agree has that value as all bounds. Throws Error{usage} unless
/// 0 <= lower <= upper <= 1.
NullBand null_band(std::span<const double> profiles, int64_t draws, int64_t layers,
                   BandShares shares);

/// A test of whether a profile rises above its null anywhere.
struct PeakTest {
  int64_t layer = -1;      ///< where the studentised profile is largest, ties to the lower layer
  double statistic = 0.0;  ///< there: (profile - mean) / sd
  double p_value = 1.0;    ///< (1 + draws whose own maximum is at least that) / (1 + draws)
};

/// Studentised maximum over layers of `profile` [L] against null `profiles` [N, L], N >= 1. Mean
/// and sd of a layer are over the 1 + N profiles, the observed one among them: all are then treated
/// alike, and the p-value is exact when the profile is exchangeable with its null draws (Barnard
/// 1963; Myllymaki et al. 2017). Layers in which any of these is not finite, or all agree, are left
/// out; with no layer left, `layer` is -1 and the numbers are NaN.
PeakTest studentised_peak(std::span<const double> profile, std::span<const double> profiles,
                          int64_t draws);

}  // namespace mechsweep
