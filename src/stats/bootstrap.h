#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/group.h"
#include "stats/interval.h"

namespace mechsweep {

/// What a cluster bootstrap is asked for.
struct BootstrapOptions {
  int64_t resamples = 10000;  ///< B, at least 2
  double level = 0.95;        ///< of the central intervals, between 0 and 1
  uint64_t seed = 0;
  std::string purpose;  ///< what the random numbers are for; one run, one purpose
};

/// How often each resample draws each cluster: [B, G], row-major. Two bytes an entry: 10,000
/// resamples of 1,000 clusters take 20 MB.
struct ResampleCounts {
  int64_t resamples = 0;
  int64_t clusters = 0;
  std::vector<uint16_t> counts;
};

/// Draws, for every resample b, G of the `clusters` = G clusters with replacement, from
/// RandomStream(seed, purpose, b): the same for all cells of a run, wherever it is computed.
/// Throws Error{usage} when resamples or level are out of range.
ResampleCounts draw_resamples(int64_t clusters, const BootstrapOptions& options);

/// Values of all prompts for all cells, [P, C] row-major; NaN means that the prompt does not count
/// in that cell. A view: the array must outlive it.
struct PromptCells {
  std::span<const double> values;
  int64_t prompts = 0;
  int64_t cells = 0;
};

/// The estimate of one cell and how sure it is.
struct CellEstimate {
  double estimate = 0.0;  ///< over all prompts that count; NaN when there is none
  int64_t prompts = 0;    ///< prompts that count
  int64_t clusters = 0;   ///< clusters with at least one such prompt
  BootstrapIntervals intervals;
};

/// Cluster bootstrap of the mean over prompts, for cells [cells.begin, cells.end).
///
/// The statistic is a ratio of sums: the sum over all prompts of the drawn clusters, divided by the
/// number of these prompts. Prompts that are NaN in a cell are left out of that cell, in sums and
/// numbers alike; a resample without any prompt left is not used. Resamples always draw from all
/// clusters, so that cells stay comparable; the jackknife leaves out each cluster that counts.
/// Cells with fewer than 2 clusters have NaN intervals. Differences below 2^-40 of the mean
/// absolute cluster sum are rounding: they count as ties (see intervals_of).
///
/// `cluster_of_prompt` [P] numbers clusters 0..G-1, each used; `resamples` is over these G. A range
/// of cells gets exactly the numbers that it gets as part of the whole. Memory: 8 B per cell for
/// 32 cells at a time.
std::vector<CellEstimate> bootstrap_means(const PromptCells& values,
                                          std::span<const int> cluster_of_prompt,
                                          const ResampleCounts& resamples, double level,
                                          Range cells);
/// The same for all cells, drawing the resamples itself.
std::vector<CellEstimate> bootstrap_means(const PromptCells& values,
                                          std::span<const int> cluster_of_prompt,
                                          const BootstrapOptions& options);

/// Cluster bootstrap of mean(numerator) / mean(denominator), both [P, C] of one shape, such as the
/// headline recovery. A prompt that is NaN in either is left out of both; resamples whose
/// denominator sums to 0 are not used. All else as for bootstrap_means.
std::vector<CellEstimate> bootstrap_ratios(const PromptCells& numerator,
                                           const PromptCells& denominator,
                                           std::span<const int> cluster_of_prompt,
                                           const ResampleCounts& resamples, double level,
                                           Range cells);
/// The same for all cells, drawing the resamples itself.
std::vector<CellEstimate> bootstrap_ratios(const PromptCells& numerator,
                                           const PromptCells& denominator,
                                           std::span<const int> cluster_of_prompt,
                                           const BootstrapOptions& options);

/// The means themselves, for statistics made of several cells (a profile's peak or width; see
/// intervals_of): row 0 is the estimate, rows 1..G leave out one cluster each, rows G+1..G+B are
/// the resamples. [1 + G + B, C] row-major; NaN where no prompt is left.
std::vector<double> resampled_means(const PromptCells& values,
                                    std::span<const int> cluster_of_prompt,
                                    const ResampleCounts& resamples);

}  // namespace mechsweep
