#pragma once

#include <memory>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: head_ablation`: each chosen head's z, or each set's heads jointly, is removed at the
/// chosen positions of the clean prompt. Keys: operation, positions (required), heads, layers,
/// mean_over (operation mean), draws (operation resample), downstream, readouts, top_k.
std::unique_ptr<Experiment> parse_head_ablation(MapReader& reader);

}  // namespace mechsweep
