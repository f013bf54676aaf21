#pragma once

#include <memory>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: attention_edges`: changes what single (query, key) pairs of attention see or give, in
/// chosen heads of the clean prompt, and measures what the answers lose. Keys: pairs, operation
/// (required), edit (with zero and replace), donor (with replace), draws, occurrence, heads (also
/// all_together), layers, downstream, readouts, top_k. Axes: those of the heads, then pairs and
/// edit where they are lists, then draw. Metrics are derive_effects().
std::unique_ptr<Experiment> parse_attention_edges(MapReader& reader);

}  // namespace mechsweep
