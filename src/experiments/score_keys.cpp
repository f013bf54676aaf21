#include <limits>

#include "experiments/attention_scores.h"

namespace mechsweep {

namespace {

/// Earlier content positions with the token of position q that count.
std::vector<int32_t> earlier_occurrences(const Prompt& prompt, int32_t q, Occurrence occurrence) {
  std::vector<int32_t> found;
  for (int32_t s = prompt.prefix_length; s < q; ++s)
    if (prompt.tokens[s] == prompt.tokens[q]) found.push_back(s);
  if (found.size() > 1 && occurrence == Occurrence::latest) found = {found.back()};
  if (found.size() > 1 && occurrence == Occurrence::first) found = {found.front()};
  return found;
}

}  // namespace

ScoreKeys occurrence_keys(const Prompt& prompt, Occurrence occurrence, int offset) {
  ScoreKeys score;
  const auto length = static_cast<int32_t>(prompt.tokens.size());
  for (int32_t q = prompt.prefix_length; q < length; ++q) {
    ScoreKeys::Query query{q, {}};
    for (const int32_t s : earlier_occurrences(prompt, q, occurrence)) {
      const int32_t key = s + offset;
      if (key >= prompt.prefix_length && key < q) query.keys.push_back(key);
    }
    if (!query.keys.empty()) score.queries.push_back(std::move(query));
  }
  return score;
}

ScoreKeys previous_token_keys(const Prompt& prompt) {
  ScoreKeys score;
  const auto length = static_cast<int32_t>(prompt.tokens.size());
  for (int32_t q = prompt.prefix_length + 1; q < length; ++q) score.queries.push_back({q, {q - 1}});
  return score;
}

ScoreKeys pair_keys(const Prompt& prompt, const std::string& name) {
  ScoreKeys score;
  const auto found = prompt.pairs.find(name);
  if (found == prompt.pairs.end()) return score;
  for (const auto& [query, key] : found->second) score.queries.push_back({query, {key}});
  return score;
}

double score_of(const ScoreKeys& keys, const float* pattern, int64_t row_stride) {
  if (keys.queries.empty()) return std::numeric_limits<double>::quiet_NaN();
  double total = 0.0;
  for (const auto& query : keys.queries)
    for (const int32_t key : query.keys)
      total += static_cast<double>(pattern[query.query * row_stride + key]);
  return total / static_cast<double>(keys.queries.size());
}

}  // namespace mechsweep
