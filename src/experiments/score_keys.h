#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "experiments/score_options.h"
#include "prompts/prompt.h"
#include "stats/matched_antecedents.h"

namespace mechsweep {

/// One score of one prompt: for each query that counts, the keys whose attention is summed.
struct ScoreKeys {
  struct Query {
    int32_t query = 0;
    std::vector<int32_t> keys;
  };
  std::vector<Query> queries;
};

/// Lags (query - source) that count; both ends do.
struct LagRange {
  int32_t least = 1;
  int32_t most = std::numeric_limits<int32_t>::max();
  [[nodiscard]] bool holds(int32_t lag) const { return least <= lag && lag <= most; }
};

/// Copies (q, s) with s in S(q), the earlier content positions that hold q's token, by ascending q
/// and s. The key s + offset must be content and earlier than q. Offset 0 is the duplicate-token
/// score, 1 induction (no copy of lag 1 then: the key would be the query), -1 anti-induction.
/// Positions below prefix_length are neither query nor source.
std::vector<CopyOperation> copy_operations(const Prompt& prompt, Occurrence occurrence,
                                           int32_t offset);
/// Queries of the copies with keys s + offset. The copies ascend by query.
ScoreKeys keys_of_copies(const std::vector<CopyOperation>& copies, int32_t offset,
                         LagRange lags = {});
/// keys_of_copies of all copy_operations.
ScoreKeys occurrence_keys(const Prompt& prompt, Occurrence occurrence, int offset,
                          LagRange lags = {});

/// The lag that all latest copies of a prompt have; 0 when there is none. Throws Error{input}
/// naming the prompt when lags differ.
int32_t only_lag(const Prompt& prompt);
/// Every query q, prefix and uncopied tokens included, with the key q - lag + offset where there is
/// such a position before q: a whole diagonal of the pattern. None when `lag` is 0.
ScoreKeys diagonal_keys(const Prompt& prompt, int32_t lag, int32_t offset);

/// Every content query and the content key just before it; on a `diagonal` every position but the
/// first.
ScoreKeys previous_token_keys(const Prompt& prompt, bool diagonal = false);
/// The prompt's own pairs, each a query of its own; empty when it has none of that name.
ScoreKeys pair_keys(const Prompt& prompt, const std::string& name);
/// Those of the keys whose query stands at `position`.
ScoreKeys keys_at(const ScoreKeys& keys, int32_t position);

/// Whether the query sees all its keys in a layer with this window (LayerKind::window; 0: none).
bool is_within(const ScoreKeys::Query& query, int window);
/// Mean over queries of the summed attention; NaN when no query counts. What a query cannot see is
/// no attention of 0: queries that are not is_within() do not count. `pattern` [T, T] with rows
/// `row_stride` apart.
double score_of(const ScoreKeys& keys, const float* pattern, int64_t row_stride, int window = 0);

}  // namespace mechsweep
