#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mechsweep {

/// Layer profile per prompt: the mean over heads of `values` [P, L, H] as [P, L], row-major, ready
/// for bootstrap_means with one cell per layer. Heads that are NaN are left out of their mean; NaN
/// where no head is left.
std::vector<double> layer_profiles(std::span<const double> values, int64_t prompts, int64_t layers,
                                   int64_t heads);

}  // namespace mechsweep
