#pragma once

#include <memory>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: head_ablation`: each chosen head's z, or each set's heads jointly, is removed at the
/// chosen positions of the clean prompt. Keys: operation, positions (required), heads, layers,
/// mean_over (operation mean), draws (operation resample), downstream, readouts, top_k, evaluate
/// (with `heads: {top: ...}`, which take a stage that decides), controls (random sets, which take a
/// stage that draws and one that tries them).
std::unique_ptr<Experiment> parse_head_ablation(MapReader& reader);

/// derive_effects(), the heads that were chosen, if any were, and the random sets' numbers.
std::vector<Metric> derive_head_ablation(const StoredRun& run);

}  // namespace mechsweep
