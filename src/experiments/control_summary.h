#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "stats/random_draws.h"

namespace mechsweep {

/// The chosen sets of a run with `controls:` beside its random sets, by one number.
struct ControlComparison {
  std::string name;  ///< "control_delta_loss", "control_delta_correct"
  std::string long_name;
  std::string units;
  Alternative alternative = Alternative::greater;
  std::vector<Axis> axes;  ///< `k` or `set`, `match`, and `operation` where it is an axis
  std::vector<DrawComparison> cells;  ///< [axes...]
  std::vector<int32_t> prompts;       ///< [axes...]: over how many prompts the means are
};

/// Compares means over the same prompts: those of `counted` (indices of prompts) in which the base
/// run and the chosen set have a finite loss at every target. A prompt's targets are averaged, then
/// the prompts. A random set with a number that is not finite there is left out and not counted as
/// a draw. p-values are NaN where chosen heads could not be drawn (`chosen: excluded`). Nothing for
/// runs without controls. Throws Error{input} when datasets do not go together.
std::vector<ControlComparison> compare_controls(const StoredRun& run,
                                                std::span<const int64_t> counted);

/// A number of a comparison as a dataset of the summary file and a column of its table.
struct ControlColumn {
  const char* name;
  const char* long_name;
  bool is_count;
  double (*value)(const ControlComparison& comparison, size_t cell);
};
std::span<const ControlColumn> control_columns();
/// Groups of comparisons in a run's group begin with this.
inline constexpr const char* kControlPrefix = "control_";

}  // namespace mechsweep
