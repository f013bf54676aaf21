#include "stats/paired.h"

#include "core/error.h"

namespace mechsweep {

std::vector<PairedComparison> compare_paired(const PromptCells& first, const PromptCells& second,
                                             std::span<const int> cluster_of_prompt,
                                             const ResampleCounts& resamples, double level,
                                             const SignFlips& flips,
                                             const CellTestOptions& options) {
  ensure(first.prompts == second.prompts && first.cells == second.cells &&
             first.values.size() == second.values.size(),
         "paired conditions have one shape");
  std::vector<double> differences(first.values.size());
  for (size_t i = 0; i < differences.size(); ++i)
    differences[i] = first.values[i] - second.values[i];
  const PromptCells cells{differences, first.prompts, first.cells};
  const auto estimates =
      bootstrap_means(cells, cluster_of_prompt, resamples, level, {0, cells.cells});
  const auto tests = sign_flip_tests(cells, cluster_of_prompt, flips, options);
  std::vector<PairedComparison> result;
  for (size_t cell = 0; cell < tests.size(); ++cell)
    result.push_back({estimates[cell], tests[cell]});
  return result;
}

}  // namespace mechsweep
