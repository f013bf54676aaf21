#pragma once

#include <memory>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: head_ablation`: each chosen head's z, or each set's heads jointly, is removed at the
/// chosen positions of the clean prompt. Keys: operation, positions (required), heads, layers,
/// mean_over (operation mean), draws (operation resample), downstream, readouts, top_k, evaluate
/// (with `heads: {top: ...}`, which take a stage that decides).
std::unique_ptr<Experiment> parse_head_ablation(MapReader& reader);

/// derive_effects(), and the heads that were chosen, if any were.
std::vector<Metric> derive_head_ablation(const StoredRun& run);

}  // namespace mechsweep
