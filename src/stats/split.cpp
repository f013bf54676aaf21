#include "stats/split.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {

std::vector<int> clusters_of(std::span<const std::string> templates) {
  std::vector<int> clusters;
  clusters.reserve(templates.size());
  std::unordered_map<std::string_view, int> seen;
  int next = 0;
  for (const std::string& name : templates) {
    if (name.empty()) {
      clusters.push_back(next++);
      continue;
    }
    const auto [entry, is_new] = seen.try_emplace(name, next);
    if (is_new) ++next;
    clusters.push_back(entry->second);
  }
  return clusters;
}

HalfSplit split_halves(std::span<const int> cluster_of_prompt, uint64_t seed,
                       std::string_view purpose) {
  std::vector<int64_t> sizes;
  for (const int cluster : cluster_of_prompt) {
    ensure(cluster >= 0, "cluster numbers start at 0");
    if (cluster >= std::ssize(sizes)) sizes.resize(cluster + 1, 0);
    ++sizes[cluster];
  }
  const auto used = std::count_if(sizes.begin(), sizes.end(), [](int64_t n) { return n > 0; });
  if (used < 2)
    fail(ErrorKind::input,
         "half_a and half_b need prompts of at least two templates, but there {} {}; add templates "
         "or leave the template out of the prompts",
         used == 1 ? "is" : "are", used);

  std::vector<uint8_t> in_b(sizes.size(), 0);
  int64_t size_a = 0, size_b = 0;
  RandomStream stream(seed, purpose);
  for (const uint32_t cluster : stream.permutation(static_cast<uint32_t>(sizes.size()))) {
    in_b[cluster] = size_b < size_a ? 1 : 0;
    (in_b[cluster] != 0 ? size_b : size_a) += sizes[cluster];
  }
  HalfSplit split;
  for (int64_t prompt = 0; prompt < std::ssize(cluster_of_prompt); ++prompt)
    (in_b[cluster_of_prompt[prompt]] != 0 ? split.half_b : split.half_a).push_back(prompt);
  return split;
}

}  // namespace mechsweep
