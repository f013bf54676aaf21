#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stats/bootstrap.h"
#include "stats/max_statistic.h"
#include "stats/sign_flips.h"

namespace mechsweep {

/// Two conditions on the same prompts, in one cell.
struct PairedComparison {
  CellEstimate difference;  ///< mean of first - second, with cluster-bootstrap intervals
  CellTest test;            ///< that it is 0, by turning signs of whole clusters
};

/// Compares `first` with `second`, [P, C] each, prompt by prompt: bootstrap_means and
/// sign_flip_tests of first - second. A prompt that is NaN in either is left out of that cell. With
/// few clusters the smallest p-value is 2^(1 - G) (two-sided; 2^-G one-sided): five templates
/// cannot give less than .0625.
///
/// Interval and test answer two questions and may disagree at the edge of a level: how large the
/// difference is in the population of templates, and whether it is there at all. The test's null
/// includes symmetry around 0.
std::vector<PairedComparison> compare_paired(const PromptCells& first, const PromptCells& second,
                                             std::span<const int> cluster_of_prompt,
                                             const ResampleCounts& resamples, double level,
                                             const SignFlips& flips,
                                             const CellTestOptions& options);

}  // namespace mechsweep
