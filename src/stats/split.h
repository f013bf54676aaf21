#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mechsweep {

/// Cluster numbers 0..G-1 of prompts [P], in order of first appearance: prompts of one template
/// share a number, a prompt without a template (empty) is its own cluster.
std::vector<int> clusters_of(std::span<const std::string> templates);

/// The two halves of a prompt set, as ascending prompt indices.
struct HalfSplit {
  std::vector<int64_t> half_a;
  std::vector<int64_t> half_b;
};

/// Splits prompts into half_a and half_b and keeps clusters whole: clusters in the random order of
/// RandomStream(seed, purpose) go, one by one, to the half that has fewer prompts (half_a when
/// equal). The halves thus differ by no more than the largest cluster.
/// `cluster_of_prompt` [P] numbers clusters 0..G-1. Throws Error{input} when there are fewer than
/// two clusters, since nothing can be held out then.
HalfSplit split_halves(std::span<const int> cluster_of_prompt, uint64_t seed,
                       std::string_view purpose);

}  // namespace mechsweep
