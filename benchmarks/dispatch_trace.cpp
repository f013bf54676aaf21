#include "dispatch_trace.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {
namespace {

/// Of the standard normal distribution (Box and Muller, 1958).
double normal(RandomStream& random) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - random.uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * random.uniform());
}

/// Heavy-tailed with mean 1.
double draw_cost(const TraceOptions& options, RandomStream& random) {
  if (options.costs == "lognormal")
    return std::exp(options.shape * normal(random) - 0.5 * options.shape * options.shape);
  const double least = (options.shape - 1.0) / options.shape;
  return least * std::pow(1.0 - random.uniform(), -1.0 / options.shape);
}

/// Units of each model: the k-th has 1/k of the first one's.
std::vector<int> share_out(int units, int models) {
  double harmonic = 0.0;
  for (int m = 0; m < models; ++m) harmonic += 1.0 / (m + 1);
  std::vector<int> counts;
  for (int m = 0; m < models; ++m)
    counts.push_back(std::max(1, static_cast<int>(units / (harmonic * (m + 1)))));
  counts.front() += std::max(0, units - std::accumulate(counts.begin(), counts.end(), 0));
  return counts;
}

}  // namespace

double exponential(double uniform, double mean) {
  return -mean * std::log(1.0 - uniform);
}

Trace make_trace(const TraceOptions& options) {
  if (options.costs != "lognormal" && options.costs != "pareto")
    fail(ErrorKind::usage, "--costs: '{}' is neither lognormal nor pareto", options.costs);
  if (options.costs == "pareto" && options.shape <= 1.0)
    fail(ErrorKind::usage, "--shape: a Pareto distribution has a mean only above 1");
  Trace trace;
  RandomStream random(options.seed, "dispatch_simulator/trace");
  const std::vector<int> counts = share_out(options.units, options.models);
  for (int model = 0; model < options.models; ++model) {
    trace.loading_s.push_back(options.loading_s * std::exp2(2.0 * random.uniform() - 1.0));
    const double bias = options.model_error * normal(random);
    for (int i = 0; i < counts[static_cast<size_t>(model)]; ++i) {
      const double cost_s =
          std::min(options.longest_s, options.mean_s * draw_cost(options, random));
      trace.true_s.push_back(cost_s);
      trace.work_s += cost_s;
      trace.units.push_back(
          {.model = model,
           .predicted_s = cost_s * std::exp(bias + options.error * normal(random))});
    }
  }
  return trace;
}

double Trace::lower_bound_s(int groups) const {
  const double each_once_s = std::accumulate(loading_s.begin(), loading_s.end(), 0.0);
  const double least_s = *std::min_element(loading_s.begin(), loading_s.end());
  double bound_s = (work_s + std::max(each_once_s, groups * least_s)) / groups;
  for (size_t unit = 0; unit < units.size(); ++unit)
    bound_s = std::max(bound_s, true_s[unit] + loading_s[static_cast<size_t>(units[unit].model)]);
  return bound_s;
}

}  // namespace mechsweep
