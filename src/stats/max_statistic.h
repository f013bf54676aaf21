#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stats/bootstrap.h"
#include "stats/p_value.h"
#include "stats/sign_flips.h"

namespace mechsweep {

/// What is compared between cells and flips, S being the sum over a cell's prompts.
enum class CellStatistic {
  studentised,  ///< S divided by its standard deviation under the flips, sqrt(sum_g S_g^2)
  mean,         ///< S divided by the number of prompts
};

/// How cells are tested.
struct CellTestOptions {
  /// Studentised by default: with means, the maximum is that of the cells that vary most (early
  /// heads, say), and a quiet cell with a clear effect would have to beat their noise. Means fit
  /// where only the size of an effect counts.
  CellStatistic statistic = CellStatistic::studentised;
  Alternative alternative = Alternative::two_sided;
};

/// The test of one cell alone and among all.
struct CellTest {
  double mean = 0.0;       ///< over the prompts that count; NaN when there is none
  double statistic = 0.0;  ///< signed
  int64_t prompts = 0;     ///< that count
  int64_t clusters = 0;    ///< with at least one such prompt
  double p_value = 1.0;
  /// For all cells together: the chance, were there no effect anywhere, that any cell's statistic
  /// is as extreme as this one's.
  double adjusted_p_value = 1.0;
};

/// Tests whether the mean over prompts is 0, in every cell, by turning the signs of whole clusters,
/// all cells together (`values` [P, C] are differences between two conditions, or effects). The
/// null: the values of a cluster are as likely as their negatives, jointly in all cells.
///
/// p_value is exact or (1 + b) / (1 + flips), as the flips are; for one cell both statistics give
/// the same. adjusted_p_value is the single-step maximum-statistic adjustment of Westfall and
/// Young, "Resampling-Based Multiple Testing" (1993): it keeps the chance of any false finding at
/// the level, and costs less than Bonferroni's the more alike cells are.
///
/// NaN prompts are left out of their cell; a cell without any has NaN in all but the counts and is
/// not in the maximum. A cell of zeros has p = 1. Statistics within kRoundingShare of the summed
/// sizes of their terms tie, and ties count as extreme. `cluster_of_prompt` [P] numbers the flips'
/// clusters. Takes C * G * flips additions.
std::vector<CellTest> sign_flip_tests(const PromptCells& values,
                                      std::span<const int> cluster_of_prompt,
                                      const SignFlips& flips, const CellTestOptions& options);

}  // namespace mechsweep
