#pragma once

#include <memory>
#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: attention_scores`: where each head looks, on clean prompts without edits. Keys: scores
/// (required: previous_token, duplicate_token, induction, anti_induction, or names of the prompts'
/// pairs), occurrence (latest, first, all).
std::unique_ptr<Experiment> parse_attention_scores(MapReader& reader);

std::vector<Metric> derive_attention_scores(const StoredRun& run);

/// Which earlier occurrences of a query's token count.
enum class Occurrence { latest, first, all };

/// One score of one prompt: for each query that counts, the keys whose attention is summed.
struct ScoreKeys {
  struct Query {
    int32_t query = 0;
    std::vector<int32_t> keys;
  };
  std::vector<Query> queries;
};

/// Queries q and keys s + offset, for s in S(q), the earlier content positions that hold q's token.
/// Keys must be content and earlier than q; a query without such a key does not count. Offset 0 is
/// the duplicate-token score, 1 induction, -1 anti-induction. Positions below prefix_length are
/// neither.
ScoreKeys occurrence_keys(const Prompt& prompt, Occurrence occurrence, int offset);
/// Every content query and the content key just before it.
ScoreKeys previous_token_keys(const Prompt& prompt);
/// The prompt's own pairs, each a query of its own; empty when it has none of that name.
ScoreKeys pair_keys(const Prompt& prompt, const std::string& name);

/// Mean over queries of the summed attention; NaN when no query counts. `pattern` [T, T] with rows
/// `row_stride` apart.
double score_of(const ScoreKeys& keys, const float* pattern, int64_t row_stride);

}  // namespace mechsweep
