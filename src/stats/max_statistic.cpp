#include "stats/max_statistic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace mechsweep {
namespace {

// Cells are worked on in blocks that the compiler turns into vector instructions.
constexpr int64_t kBlock = 32;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Row = std::array<double, kBlock>;

/// One block of cells: what each cluster adds to the statistics.
struct Block {
  std::vector<Row> terms;  ///< [G]
  Row observed{};
  Row threshold{};  ///< statistics from here on are as extreme as the observed one
  Row never{};      ///< 0, or minus infinity in cells that are not tested
  std::array<int64_t, kBlock> at_least{};
};

int64_t sum_clusters(const PromptCells& values, std::span<const int> cluster_of_prompt,
                     int64_t cell, std::span<double> sums, std::span<int64_t> counts) {
  std::fill(sums.begin(), sums.end(), 0.0);
  std::fill(counts.begin(), counts.end(), 0);
  int64_t total = 0;
  for (int64_t prompt = 0; prompt < values.prompts; ++prompt) {
    const double value = values.values[prompt * values.cells + cell];
    if (std::isnan(value)) continue;
    sums[cluster_of_prompt[prompt]] += value;
    ++counts[cluster_of_prompt[prompt]];
    ++total;
  }
  return total;
}

/// What a cluster's sum is multiplied by to become its term in the statistic.
double scale_of(std::span<const double> sums, int64_t prompts, CellStatistic statistic) {
  if (statistic == CellStatistic::mean) return 1.0 / static_cast<double>(prompts);
  double squares = 0.0;
  for (const double sum : sums) squares += sum * sum;
  return squares > 0.0 ? 1.0 / std::sqrt(squares) : 0.0;
}

/// Fills in a cell's terms and all of its test but the p-values.
CellTest prepare_cell(Block& block, int64_t c, std::span<const double> sums,
                      std::span<const int64_t> counts, int64_t prompts,
                      const CellTestOptions& options) {
  CellTest test{.prompts = prompts};
  if (prompts == 0) {
    block.never[c] = -kInfinity;
    test.mean = test.statistic = test.p_value = test.adjusted_p_value = kNan;
    return test;
  }
  const double scale = scale_of(sums, prompts, options.statistic);
  const double sign = options.alternative == Alternative::less ? -1.0 : 1.0;
  double sum = 0.0, statistic = 0.0, size = 0.0;
  for (int64_t g = 0; g < std::ssize(sums); ++g) {
    const double term = sums[g] * scale;
    block.terms[g][c] = sign * term;
    sum += sums[g];
    statistic += term;
    size += std::abs(term);
    test.clusters += counts[g] > 0 ? 1 : 0;
  }
  test.mean = sum / static_cast<double>(prompts);
  test.statistic = statistic;
  block.observed[c] =
      options.alternative == Alternative::two_sided ? std::abs(statistic) : sign * statistic;
  block.threshold[c] = block.observed[c] - kRoundingShare * size;
  return test;
}

/// The statistics of the block's cells under one pattern of signs.
Row flipped(const Block& block, const SignFlips& flips, int64_t flip, bool two_sided) {
  Row sums{};
  for (int64_t g = 0; g < flips.clusters; ++g) {
    const double sign = flips.is_turned(flip, g) ? -1.0 : 1.0;
    const Row& terms = block.terms[g];
    for (int64_t c = 0; c < kBlock; ++c) sums[c] += sign * terms[c];
  }
  if (two_sided)
    for (double& sum : sums) sum = std::abs(sum);
  return sums;
}

/// Counts extreme flips by cell and keeps the largest statistic of each flip.
void run_flips(Block& block, const SignFlips& flips, bool two_sided, std::span<double> largest) {
  for (int64_t flip = 0; flip < flips.flips; ++flip) {
    const Row row = flipped(block, flips, flip, two_sided);
    double most = largest[flip];
    for (int64_t c = 0; c < kBlock; ++c) {
      block.at_least[c] += row[c] >= block.threshold[c] ? 1 : 0;
      most = std::max(most, row[c] + block.never[c]);
    }
    largest[flip] = most;
  }
}

double p_value_of(int64_t at_least, const SignFlips& flips) {
  if (flips.exact) return static_cast<double>(at_least) / static_cast<double>(flips.flips);
  return monte_carlo_p_value(at_least, flips.flips);
}

}  // namespace

std::vector<CellTest> sign_flip_tests(const PromptCells& values,
                                      std::span<const int> cluster_of_prompt,
                                      const SignFlips& flips, const CellTestOptions& options) {
  ensure(std::ssize(values.values) == values.prompts * values.cells &&
             std::ssize(cluster_of_prompt) == values.prompts,
         "values are [prompts, cells], and every prompt has a cluster");
  for (const int cluster : cluster_of_prompt)
    ensure(0 <= cluster && cluster < flips.clusters, "the flips are of these clusters");
  const bool two_sided = options.alternative == Alternative::two_sided;
  std::vector<CellTest> tests;
  std::vector<double> thresholds;
  std::vector<double> largest(flips.flips, -kInfinity);
  std::vector<double> sums(flips.clusters);
  std::vector<int64_t> counts(flips.clusters);
  for (int64_t begin = 0; begin < values.cells; begin += kBlock) {
    const int64_t size = std::min(kBlock, values.cells - begin);
    Block block{.terms = std::vector<Row>(flips.clusters)};
    std::fill(block.never.begin() + size, block.never.end(), -kInfinity);
    for (int64_t c = 0; c < size; ++c) {
      const int64_t prompts = sum_clusters(values, cluster_of_prompt, begin + c, sums, counts);
      tests.push_back(prepare_cell(block, c, sums, counts, prompts, options));
      thresholds.push_back(block.threshold[c]);
    }
    run_flips(block, flips, two_sided, largest);
    for (int64_t c = 0; c < size; ++c)
      if (tests[begin + c].prompts > 0)
        tests[begin + c].p_value = p_value_of(block.at_least[c], flips);
  }
  std::sort(largest.begin(), largest.end());
  for (size_t cell = 0; cell < tests.size(); ++cell) {
    if (tests[cell].prompts == 0) continue;
    const auto reached = std::lower_bound(largest.begin(), largest.end(), thresholds[cell]);
    tests[cell].adjusted_p_value = p_value_of(largest.end() - reached, flips);
  }
  return tests;
}

}  // namespace mechsweep
