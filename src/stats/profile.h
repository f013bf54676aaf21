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

/// The same over the heads with chosen[l, h] != 0 only (`chosen` is [L, H], see top_heads): NaN in
/// layers without one. The heads are the same for all prompts, so that the profile stays a mean
/// over prompts.
std::vector<double> layer_profiles(std::span<const double> values, int64_t prompts, int64_t layers,
                                   int64_t heads, std::span<const uint8_t> chosen);

/// How many heads the top `fraction` of `heads` is: fraction * heads, rounded down, at least 1.
/// Throws Error{usage} unless 0 < fraction <= 1.
int64_t top_head_count(int64_t heads, double fraction);

/// In each layer, the top_head_count heads with the largest `means` [L, H] (over prompts): 1 for
/// those, 0 for the others, [L, H]. Ties go to the lower head; NaN is never chosen, so that a layer
/// may have fewer.
///
/// Heads are never chosen prompt by prompt: the top of a prompt is mostly that prompt's noise. Even
/// the top of means over the same prompts is too high by selection, by about the standard error of
/// one head's mean where heads are equal. A profile without that bias takes `means` of one half of
/// the prompts and values of the other (split_halves). Where all prompts have to serve, give a null
/// the same advantage: choose its heads by its own means.
std::vector<uint8_t> top_heads(std::span<const double> means, int64_t layers, int64_t heads,
                               double fraction);

/// The profile of one score per head: `scores` [L, H] to the mean of each layer's top_head_count
/// largest, [L]. Fraction 1 is the mean over heads. NaN is left out; NaN where nothing is left.
std::vector<double> top_profile(std::span<const double> scores, int64_t layers, int64_t heads,
                                double fraction);

}  // namespace mechsweep
