#include "stats/profile_shape.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"

namespace mechsweep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct RunEnd {
  double position = 0.0;
  bool clipped = false;
};

/// Walks from the peak in steps of `step` (-1 or 1) until the excess is at most `half`.
RunEnd end_of_run(std::span<const double> excess, int64_t peak, double half, int64_t step) {
  int64_t inside = peak;
  for (;;) {
    const int64_t next = inside + step;
    const bool is_outside = next < 0 || next >= std::ssize(excess);
    if (is_outside || std::isnan(excess[next]))
      return {static_cast<double>(inside) + 0.5 * static_cast<double>(step), true};
    if (!(excess[next] > half)) {
      const double part = (excess[inside] - half) / (excess[inside] - excess[next]);
      return {static_cast<double>(inside) + part * static_cast<double>(step), false};
    }
    inside = next;
  }
}

double centroid_of(std::span<const double> excess) {
  double weights = 0.0, moments = 0.0;
  for (int64_t layer = 0; layer < std::ssize(excess); ++layer) {
    if (!(excess[layer] > 0.0)) continue;
    weights += excess[layer];
    moments += excess[layer] * static_cast<double>(layer);
  }
  return weights > 0.0 ? moments / weights : kNan;
}

}  // namespace

double depth_of(double layer, int64_t layers) {
  return layer / static_cast<double>(layers);
}

double centre_depth_of(double layer, int64_t layers) {
  return (layer + 0.5) / static_cast<double>(layers);
}

ProfileShape profile_shape(std::span<const double> profile, std::span<const double> baseline,
                           std::span<const double> upper) {
  const auto layers = std::ssize(profile);
  ensure(std::ssize(baseline) == layers && std::ssize(upper) == layers,
         "profile, baseline and upper bound have one value per layer");
  ProfileShape shape{.peak_value = kNan,
                     .peak_excess = kNan,
                     .centroid = kNan,
                     .bandwidth = kNan,
                     .left = kNan,
                     .right = kNan};
  std::vector<double> excess(layers);
  for (int64_t layer = 0; layer < layers; ++layer) {
    excess[layer] = profile[layer] - baseline[layer];
    if (std::isnan(profile[layer])) continue;
    if (shape.peak < 0 || profile[layer] > profile[shape.peak]) shape.peak = layer;
  }
  if (shape.peak < 0) return shape;
  shape.peak_value = profile[shape.peak];
  shape.peak_excess = excess[shape.peak];
  shape.centroid = centroid_of(excess);
  shape.inside_null = !(shape.peak_value > upper[shape.peak] && shape.peak_excess > 0.0);
  if (shape.inside_null) return shape;
  const double half = shape.peak_excess / 2.0;
  const RunEnd left = end_of_run(excess, shape.peak, half, -1);
  const RunEnd right = end_of_run(excess, shape.peak, half, 1);
  shape.left = left.position;
  shape.right = right.position;
  shape.clipped = left.clipped || right.clipped;
  shape.bandwidth = (right.position - left.position) / static_cast<double>(layers);
  return shape;
}

}  // namespace mechsweep
