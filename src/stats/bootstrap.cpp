#include "stats/bootstrap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {
namespace {

// Cells are worked on in blocks of one fixed width, the last one padded with zeros: every cell then
// goes through the same instructions wherever a range begins, and gets the same bits.
constexpr int64_t kBlock = 32;
constexpr double kTieShare = 0x1.0p-40;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

using Row = std::array<double, kBlock>;

/// Sums per cluster [G, block] of one block of cells. A mean is the ratio of the sum of values to
/// the sum of ones, so that means and ratios of means are one computation.
struct ClusterSums {
  explicit ClusterSums(int64_t clusters) : top(clusters), bottom(clusters), count(clusters) {}
  std::vector<Row> top;
  std::vector<Row> bottom;
  std::vector<std::array<int64_t, kBlock>> count;  ///< prompts that count
};

/// What is divided: `denominator` is null for means.
struct RatioInput {
  const PromptCells* numerator;
  const PromptCells* denominator;
  std::span<const int> cluster_of_prompt;
};

void check_level(double level) {
  if (!(level > 0.0 && level < 1.0))
    fail(ErrorKind::usage, "bootstrap: level is {}; give a number above 0 and below 1", level);
}

int64_t count_clusters(std::span<const int> cluster_of_prompt) {
  ensure(!cluster_of_prompt.empty(), "a bootstrap needs prompts");
  const auto [low, high] = std::minmax_element(cluster_of_prompt.begin(), cluster_of_prompt.end());
  ensure(*low >= 0, "cluster numbers start at 0");
  std::vector<uint8_t> used(*high + 1, 0);
  for (const int cluster : cluster_of_prompt) used[cluster] = 1;
  ensure(std::count(used.begin(), used.end(), 1) == *high + 1, "every cluster number is used");
  return *high + 1;
}

void check_shapes(const RatioInput& input, const ResampleCounts& resamples, Range cells) {
  const PromptCells& top = *input.numerator;
  ensure(std::ssize(top.values) == top.prompts * top.cells, "values are [prompts, cells]");
  ensure(std::ssize(input.cluster_of_prompt) == top.prompts, "every prompt has a cluster");
  if (input.denominator != nullptr) {
    const PromptCells& bottom = *input.denominator;
    ensure(bottom.prompts == top.prompts && bottom.cells == top.cells &&
               bottom.values.size() == top.values.size(),
           "numerator and denominator have one shape");
  }
  ensure(resamples.clusters == count_clusters(input.cluster_of_prompt) &&
             std::ssize(resamples.counts) == resamples.resamples * resamples.clusters,
         "the resamples are of these clusters");
  ensure(0 <= cells.begin && cells.begin <= cells.end && cells.end <= top.cells,
         "the range of cells lies inside the array");
}

ClusterSums sum_clusters(const RatioInput& input, int64_t clusters, Range cells) {
  ClusterSums sums(clusters);
  const int64_t width = input.numerator->cells;
  for (int64_t prompt = 0; prompt < input.numerator->prompts; ++prompt) {
    const int cluster = input.cluster_of_prompt[prompt];
    for (int64_t c = 0; c < cells.size(); ++c) {
      const int64_t at = prompt * width + cells.begin + c;
      const double top = input.numerator->values[at];
      const double bottom = input.denominator == nullptr ? 1.0 : input.denominator->values[at];
      if (std::isnan(top) || std::isnan(bottom)) continue;
      sums.top[cluster][c] += top;
      sums.bottom[cluster][c] += bottom;
      ++sums.count[cluster][c];
    }
  }
  return sums;
}

/// Ratios [block] when every cluster g counts weight(g) times. The order of summation is that of
/// the clusters, so that a resample that draws each cluster once gives the estimate to the bit.
template <typename Weight>
Row ratios(const ClusterSums& sums, Weight weight) {
  Row top{}, bottom{};
  const auto clusters = std::ssize(sums.top);
  for (int64_t g = 0; g < clusters; ++g) {
    const double w = weight(g);
    if (w == 0.0) continue;
    const Row& top_g = sums.top[g];
    const Row& bottom_g = sums.bottom[g];
    for (int64_t c = 0; c < kBlock; ++c) top[c] += w * top_g[c];
    for (int64_t c = 0; c < kBlock; ++c) bottom[c] += w * bottom_g[c];
  }
  Row result;
  for (int64_t c = 0; c < kBlock; ++c) result[c] = bottom[c] == 0.0 ? kNan : top[c] / bottom[c];
  return result;
}

Row resampled_ratios(const ClusterSums& sums, const ResampleCounts& resamples, int64_t b) {
  const uint16_t* counts = resamples.counts.data() + b * resamples.clusters;
  return ratios(sums, [counts](int64_t g) { return static_cast<double>(counts[g]); });
}

CellEstimate estimate_cell(const ClusterSums& sums, int64_t c, double estimate,
                           std::span<double> replicates, double level) {
  CellEstimate cell{estimate, 0, 0, undefined_intervals()};
  double top = 0.0, bottom = 0.0, top_size = 0.0, bottom_size = 0.0;
  const auto clusters = std::ssize(sums.top);
  for (int64_t g = 0; g < clusters; ++g) {
    top += sums.top[g][c];
    bottom += sums.bottom[g][c];
    top_size += std::abs(sums.top[g][c]);
    bottom_size += std::abs(sums.bottom[g][c]);
    cell.prompts += sums.count[g][c];
    if (sums.count[g][c] > 0) ++cell.clusters;
  }
  if (cell.clusters < 2) return cell;

  std::vector<double> jackknife;
  jackknife.reserve(cell.clusters);
  for (int64_t g = 0; g < clusters; ++g)
    if (sums.count[g][c] > 0)
      jackknife.push_back((top - sums.top[g][c]) / (bottom - sums.bottom[g][c]));
  const double tolerance =
      kTieShare * (top_size + std::abs(estimate) * bottom_size) / std::abs(bottom);
  cell.intervals = intervals_of(replicates, estimate, jackknife, level, tolerance);
  return cell;
}

std::vector<CellEstimate> bootstrap(const RatioInput& input, const ResampleCounts& resamples,
                                    double level, Range cells) {
  check_level(level);
  check_shapes(input, resamples, cells);
  std::vector<CellEstimate> result;
  result.reserve(cells.size());
  const int64_t b_count = resamples.resamples;
  std::vector<double> replicates(kBlock * b_count);  // [block, B]
  for (int64_t begin = cells.begin; begin < cells.end; begin += kBlock) {
    const Range block{begin, std::min(begin + kBlock, cells.end)};
    const ClusterSums sums = sum_clusters(input, resamples.clusters, block);
    const Row estimates = ratios(sums, [](int64_t) { return 1.0; });
    for (int64_t b = 0; b < b_count; ++b) {
      const Row row = resampled_ratios(sums, resamples, b);
      for (int64_t c = 0; c < block.size(); ++c) replicates[c * b_count + b] = row[c];
    }
    for (int64_t c = 0; c < block.size(); ++c)
      result.push_back(estimate_cell(sums, c, estimates[c],
                                     std::span(replicates).subspan(c * b_count, b_count), level));
  }
  return result;
}

}  // namespace

ResampleCounts draw_resamples(int64_t clusters, const BootstrapOptions& options) {
  check_level(options.level);
  if (options.resamples < 2)
    fail(ErrorKind::usage,
         "bootstrap: resamples is {}; at least 2 are needed, 1000 or more advised",
         options.resamples);
  ensure(clusters >= 1 && clusters <= std::numeric_limits<int32_t>::max(),
         "a bootstrap draws from at least one cluster");
  ResampleCounts drawn{options.resamples, clusters, {}};
  drawn.counts.assign(options.resamples * clusters, 0);
  for (int64_t b = 0; b < options.resamples; ++b) {
    RandomStream stream(options.seed, options.purpose, static_cast<uint64_t>(b));
    uint16_t* counts = drawn.counts.data() + b * clusters;
    for (int64_t draw = 0; draw < clusters; ++draw) {
      uint16_t& count = counts[stream.below(static_cast<uint32_t>(clusters))];
      ++count;
      ensure(count != 0, "no cluster is drawn more than 65535 times");
    }
  }
  return drawn;
}

std::vector<CellEstimate> bootstrap_means(const PromptCells& values,
                                          std::span<const int> cluster_of_prompt,
                                          const ResampleCounts& resamples, double level,
                                          Range cells) {
  return bootstrap({&values, nullptr, cluster_of_prompt}, resamples, level, cells);
}

std::vector<CellEstimate> bootstrap_means(const PromptCells& values,
                                          std::span<const int> cluster_of_prompt,
                                          const BootstrapOptions& options) {
  return bootstrap_means(values, cluster_of_prompt,
                         draw_resamples(count_clusters(cluster_of_prompt), options), options.level,
                         {0, values.cells});
}

std::vector<CellEstimate> bootstrap_ratios(const PromptCells& numerator,
                                           const PromptCells& denominator,
                                           std::span<const int> cluster_of_prompt,
                                           const ResampleCounts& resamples, double level,
                                           Range cells) {
  return bootstrap({&numerator, &denominator, cluster_of_prompt}, resamples, level, cells);
}

std::vector<CellEstimate> bootstrap_ratios(const PromptCells& numerator,
                                           const PromptCells& denominator,
                                           std::span<const int> cluster_of_prompt,
                                           const BootstrapOptions& options) {
  return bootstrap_ratios(numerator, denominator, cluster_of_prompt,
                          draw_resamples(count_clusters(cluster_of_prompt), options), options.level,
                          {0, numerator.cells});
}

std::vector<double> resampled_means(const PromptCells& values,
                                    std::span<const int> cluster_of_prompt,
                                    const ResampleCounts& resamples) {
  const RatioInput input{&values, nullptr, cluster_of_prompt};
  check_shapes(input, resamples, {0, values.cells});
  const int64_t clusters = resamples.clusters;
  const int64_t rows = 1 + clusters + resamples.resamples;
  std::vector<double> result(rows * values.cells);
  for (int64_t begin = 0; begin < values.cells; begin += kBlock) {
    const Range block{begin, std::min(begin + kBlock, values.cells)};
    const ClusterSums sums = sum_clusters(input, clusters, block);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t left_out = row - 1;  // -1 for the estimate, a cluster up to G - 1
      const Row means =
          row <= clusters
              ? ratios(sums, [left_out](int64_t g) { return g == left_out ? 0.0 : 1.0; })
              : resampled_ratios(sums, resamples, row - 1 - clusters);
      std::copy_n(means.begin(), block.size(), result.begin() + row * values.cells + begin);
    }
  }
  return result;
}

}  // namespace mechsweep
