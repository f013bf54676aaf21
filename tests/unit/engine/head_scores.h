#pragma once

#include <functional>
#include <vector>

#include "engine/executor.h"

// Attention scores by the plainest reading of their definitions (docs/user-guide.md), for prompts
// whose first token is a prefix: it is no query, and a query whose key it is does not count.

namespace mechsweep::test_engine {

/// Mean over queries of a prompt of the sum of A[query, key] over the keys that `keys_of(query)`
/// names; a query without keys does not count.
class HeadScores final : public AttentionObserver {
 public:
  using KeysOf = std::function<std::vector<int64_t>(int64_t task, int64_t query)>;

  HeadScores(int64_t tasks, int layers, int heads, KeysOf keys_of)
      : layers_(layers),
        heads_(heads),
        keys_of_(std::move(keys_of)),
        scores_(tasks * layers * heads, -1.0) {}

  void observe(int64_t task, int layer, int head, const float* pattern, int64_t tokens,
               int64_t row_stride) override {
    double sum = 0.0;
    int64_t queries = 0;
    for (int64_t q = 1; q < tokens; ++q) {
      const auto keys = keys_of_(task, q);
      if (!keys.empty()) ++queries;
      for (const int64_t key : keys) sum += static_cast<double>(pattern[q * row_stride + key]);
    }
    scores_[index(task, layer, head)] = sum / static_cast<double>(queries);
  }

  /// -1 where nothing was observed.
  [[nodiscard]] double score(int64_t task, int layer, int head) const {
    return scores_[index(task, layer, head)];
  }

 private:
  [[nodiscard]] size_t index(int64_t task, int layer, int head) const {
    return (task * layers_ + layer) * heads_ + head;
  }

  int layers_;
  int heads_;
  KeysOf keys_of_;
  std::vector<double> scores_;
};

/// The key `offset` after the latest earlier position that holds the query's token, where that key
/// is no prefix and earlier than the query.
inline std::vector<int64_t> latest_occurrence(std::span<const int32_t> tokens, int64_t query,
                                              int64_t offset) {
  for (int64_t s = query - 1; s >= 1; --s) {
    if (tokens[s] != tokens[query]) continue;
    const int64_t key = s + offset;
    return key >= 1 && key < query ? std::vector<int64_t>{key} : std::vector<int64_t>{};
  }
  return {};
}

}  // namespace mechsweep::test_engine
