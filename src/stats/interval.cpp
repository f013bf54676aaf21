#include "stats/interval.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "stats/normal.h"

namespace mechsweep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double mean_of(std::span<const double> values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double standard_deviation(std::span<const double> values) {
  const double mean = mean_of(values);
  double squares = 0.0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

/// The acceleration a of BCa: Efron and Tibshirani 1993, eq. 14.15. NaN when a value is not finite.
double acceleration_of(std::span<const double> jackknife, double tie_tolerance) {
  const double mean = mean_of(jackknife);
  if (!std::isfinite(mean)) return kNan;
  double squares = 0.0, cubes = 0.0, largest = 0.0;
  for (const double value : jackknife) {
    const double deviation = mean - value;
    squares += deviation * deviation;
    cubes += deviation * deviation * deviation;
    largest = std::max(largest, std::abs(deviation));
  }
  if (largest <= tie_tolerance) return 0.0;
  return cubes / (6.0 * squares * std::sqrt(squares));
}

/// The share of the bootstrap distribution below the end of a BCa interval whose normal quantile
/// is `z`: Efron and Tibshirani 1993, eq. 14.10.
double bca_share(double z, double bias, double acceleration) {
  const double shifted = bias + z;
  const double stretch = 1.0 - acceleration * shifted;
  if (stretch <= 0.0) return shifted > 0.0 ? 1.0 : 0.0;
  return normal_cdf(bias + shifted / stretch);
}

}  // namespace

double quantile_of_sorted(std::span<const double> sorted, double p) {
  ensure(!sorted.empty() && p >= 0.0 && p <= 1.0, "a quantile needs values and a share in [0, 1]");
  const double position = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double fraction = position - static_cast<double>(below);
  return sorted[below] + fraction * (sorted[below + 1] - sorted[below]);
}

BootstrapIntervals undefined_intervals() {
  return {kNan, kNan, kNan, kNan, kNan, 0};
}

BootstrapIntervals intervals_of(std::span<double> replicates, double estimate,
                                std::span<const double> jackknife, double level,
                                double tie_tolerance) {
  ensure(level > 0.0 && level < 1.0 && !jackknife.empty(),
         "intervals need a level and a jackknife");
  const auto end = std::partition(replicates.begin(), replicates.end(),
                                  [](double value) { return std::isfinite(value); });
  const std::span<double> finite(replicates.begin(), end);
  BootstrapIntervals result = undefined_intervals();
  result.replicates = static_cast<int64_t>(finite.size());
  if (finite.size() < 2 || !std::isfinite(estimate)) return result;
  std::sort(finite.begin(), finite.end());

  if (finite.front() >= estimate - tie_tolerance && finite.back() <= estimate + tie_tolerance)
    return {0.0, estimate, estimate, estimate, estimate, result.replicates};
  result.standard_error = standard_deviation(finite);
  const double tail = (1.0 - level) / 2.0;
  result.percentile_low = quantile_of_sorted(finite, tail);
  result.percentile_high = quantile_of_sorted(finite, 1.0 - tail);

  const double acceleration = acceleration_of(jackknife, tie_tolerance);
  if (std::isnan(acceleration)) return result;
  const auto less =
      std::lower_bound(finite.begin(), finite.end(), estimate - tie_tolerance) - finite.begin();
  const auto at_most =
      std::upper_bound(finite.begin(), finite.end(), estimate + tie_tolerance) - finite.begin();
  const double margin = 0.5 / static_cast<double>(finite.size());
  const double share =
      std::clamp(static_cast<double>(less + at_most) * margin, margin, 1.0 - margin);
  const double bias = normal_quantile(share);
  const double z = normal_quantile(tail);
  result.bca_low = quantile_of_sorted(finite, bca_share(z, bias, acceleration));
  result.bca_high = quantile_of_sorted(finite, bca_share(-z, bias, acceleration));
  return result;
}

}  // namespace mechsweep
