#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/dispatch_policy.h"

namespace mechsweep {

/// What a simulated sweep is made of. All draws depend on `seed` alone.
struct TraceOptions {
  int units = 100000;
  int models = 8;                   ///< the k-th has 1/k of the first one's units
  std::string costs = "lognormal";  ///< or "pareto"
  double shape = 1.0;               ///< sigma of the logarithm, or Pareto's exponent (above 1)
  double mean_s = 15.0;             ///< of a unit's true cost
  double longest_s = 3600.0;        ///< costs above are cut to it
  double error = 0.3;               ///< sigma of log(predicted / true), unit by unit
  double model_error = 0.5;         ///< the same of a whole model
  double loading_s = 60.0;          ///< of the middle model; others take half to twice of it
  uint64_t seed = 1;
};

/// Units in plan order, model after model.
struct Trace {
  std::vector<UnitCost> units;  ///< as predicted
  std::vector<double> true_s;
  std::vector<double> loading_s;  ///< by model
  double work_s = 0.0;            ///< of all units, truly

  /// No schedule ends earlier: all work and the least loading spread evenly, or the longest unit.
  [[nodiscard]] double lower_bound_s(int groups) const;
};

Trace make_trace(const TraceOptions& options);

/// Of the exponential distribution, from a number in [0, 1).
double exponential(double uniform, double mean);

}  // namespace mechsweep
