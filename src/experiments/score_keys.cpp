#include "experiments/score_keys.h"

#include <algorithm>

#include "core/error.h"

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

std::vector<CopyOperation> copy_operations(const Prompt& prompt, Occurrence occurrence,
                                           int32_t offset) {
  std::vector<CopyOperation> copies;
  const auto length = static_cast<int32_t>(prompt.tokens.size());
  for (int32_t q = prompt.prefix_length; q < length; ++q)
    for (const int32_t s : earlier_occurrences(prompt, q, occurrence)) {
      const int32_t key = s + offset;
      if (key >= prompt.prefix_length && key < q) copies.push_back({q, s});
    }
  return copies;
}

ScoreKeys keys_of_copies(const std::vector<CopyOperation>& copies, int32_t offset, LagRange lags) {
  ScoreKeys score;
  for (const CopyOperation& copy : copies) {
    if (!lags.holds(copy.query - copy.source)) continue;
    if (score.queries.empty() || score.queries.back().query != copy.query)
      score.queries.push_back({copy.query, {}});
    score.queries.back().keys.push_back(copy.source + offset);
  }
  return score;
}

ScoreKeys occurrence_keys(const Prompt& prompt, Occurrence occurrence, int offset, LagRange lags) {
  return keys_of_copies(copy_operations(prompt, occurrence, offset), offset, lags);
}

int32_t only_lag(const Prompt& prompt) {
  int32_t lag = 0;
  for (const CopyOperation& copy : copy_operations(prompt, Occurrence::latest, 0)) {
    const int32_t own = copy.query - copy.source;
    if (lag != 0 && own != lag)
      fail(ErrorKind::input,
           "prompt '{}' has copies with lags {} and {}: a diagonal needs prompts with one lag "
           "each; use `queries: content`",
           prompt.id, lag, own);
    lag = own;
  }
  return lag;
}

ScoreKeys diagonal_keys(const Prompt& prompt, int32_t lag, int32_t offset) {
  ScoreKeys score;
  if (lag == 0) return score;
  for (int32_t q = 0; q < static_cast<int32_t>(prompt.tokens.size()); ++q) {
    const int32_t key = q - lag + offset;
    if (key >= 0 && key < q) score.queries.push_back({q, {key}});
  }
  return score;
}

ScoreKeys previous_token_keys(const Prompt& prompt, bool diagonal) {
  ScoreKeys score;
  const auto length = static_cast<int32_t>(prompt.tokens.size());
  for (int32_t q = (diagonal ? 0 : prompt.prefix_length) + 1; q < length; ++q)
    score.queries.push_back({q, {q - 1}});
  return score;
}

ScoreKeys pair_keys(const Prompt& prompt, const std::string& name) {
  ScoreKeys score;
  const auto found = prompt.pairs.find(name);
  if (found == prompt.pairs.end()) return score;
  for (const auto& [query, key] : found->second) score.queries.push_back({query, {key}});
  return score;
}

ScoreKeys keys_at(const ScoreKeys& keys, int32_t position) {
  ScoreKeys found;
  for (const ScoreKeys::Query& query : keys.queries)
    if (query.query == position) found.queries.push_back(query);
  return found;
}

bool is_within(const ScoreKeys::Query& query, int window) {
  return window == 0 || std::all_of(query.keys.begin(), query.keys.end(),
                                    [&](int32_t key) { return query.query - key < window; });
}

double score_of(const ScoreKeys& keys, const float* pattern, int64_t row_stride, int window) {
  double total = 0.0;
  int64_t queries = 0;
  for (const auto& query : keys.queries) {
    if (!is_within(query, window)) continue;
    ++queries;
    for (const int32_t key : query.keys)
      total += static_cast<double>(pattern[query.query * row_stride + key]);
  }
  return queries == 0 ? std::numeric_limits<double>::quiet_NaN()
                      : total / static_cast<double>(queries);
}

}  // namespace mechsweep
