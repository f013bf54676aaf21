#pragma once

#include <memory>
#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: attention_scores`: where each head looks, on clean prompts without edits. Keys: scores
/// (required: previous_token, duplicate_token, induction, anti_induction, or names of the prompts'
/// pairs), occurrence, queries, by_position, lags, lag_split, null_sources, top_fraction, top_heads
/// (docs/user-guide.md, "Attention scores").
std::unique_ptr<Experiment> parse_attention_scores(MapReader& reader);

/// Every array by head, lag or position is a metric. A score with a null has three more:
/// NAME_matched, over the copies that have null sources, NAME_null and their difference,
/// NAME_excess.
std::vector<Metric> derive_attention_scores(const StoredRun& run);

}  // namespace mechsweep
