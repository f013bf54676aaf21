#pragma once

#include <cstdint>
#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// The axis of several draws of a resampled edit.
inline constexpr const char* kDrawAxis = "draw";

/// A number for every head, from a metric of a run.
struct HeadScores {
  std::vector<double> means;    ///< NaN for a head without any value
  std::vector<int64_t> broken;  ///< values that are NaN or infinite though they should not be
};

/// Means of a metric [P, heads, (draw), (target)] over the prompts that are counted: a prompt's
/// targets are averaged, then its draws, then the prompts, in their order, so that the same numbers
/// give the same bits. Broken values are left out and counted.
HeadScores mean_head_scores(const Metric& metric, int64_t heads,
                            const std::vector<uint8_t>& counted);

}  // namespace mechsweep
