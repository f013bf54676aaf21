#pragma once

#include <cstdint>
#include <span>

namespace mechsweep {

/// The relative depth of a layer's input: l / L. `layer` may lie between layers.
double depth_of(double layer, int64_t layers);

/// The relative depth of a layer's middle: (l + 1/2) / L.
double centre_depth_of(double layer, int64_t layers);

/// Where a layer profile lies and how wide it is. Positions count layers: layer l is at l, the
/// network goes from -1/2 to L - 1/2; depth_of and centre_depth_of make them relative.
struct ProfileShape {
  int64_t peak = -1;         ///< layer of the largest value, ties to the lower one; -1: no value
  double peak_value = 0.0;   ///< NaN without a peak
  double peak_excess = 0.0;  ///< peak_value above its baseline; NaN without
  bool inside_null = true;   ///< not (peak_value > upper): no bandwidth
  double centroid = 0.0;     ///< position, see below; NaN where no layer is above its baseline
  double bandwidth = 0.0;    ///< width of the run / L, in (0, 1]; NaN when inside_null
  double left = 0.0;         ///< position where the run begins; NaN without a bandwidth
  double right = 0.0;        ///< position where it ends
  bool clipped = false;      ///< the run reaches the first or last layer: it may be wider
};

/// Peak, centroid and bandwidth of `profile` [L] above `baseline` [L] (each layer's median under
/// the lag-matched null, NullBand::median). `upper` [L] is the null's upper bound; a bound that
/// holds for all layers at once (NullBand::simultaneous_upper) belongs to a peak found by looking.
///
/// Peak: argmax of the profile itself. Centroid: sum of w_l * l / sum of w_l over all layers with
/// weights w_l = max(0, profile_l - baseline_l). What noise is left above the baseline in the other
/// layers draws it towards the middle; the less so, the higher the peak.
///
/// Bandwidth: the contiguous layers around the peak with
/// profile_l - baseline_l > (profile_peak - baseline_peak) / 2. An end lies where that difference,
/// linear between the layers' middles, crosses half; where the run reaches the network's first or
/// last layer the end is the network's (-1/2 or L - 1/2) and `clipped` is set. So a single layer
/// with neighbours at their baseline is 1/L wide wherever it is.
///
/// A layer whose profile or baseline is NaN is no peak and has no weight; a run that reaches it
/// ends half a layer before it and counts as clipped. A peak without baseline, upper bound, or
/// excess above 0 counts as inside the null.
ProfileShape profile_shape(std::span<const double> profile, std::span<const double> baseline,
                           std::span<const double> upper);

}  // namespace mechsweep
