#pragma once

#include <memory>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: component_ablation`: whole components of a layer (attention block, MLP, residual stream)
/// or neurons of its MLP are removed at the chosen positions of the clean prompt. Keys: components
/// or neurons (one of them), operation, positions (required), layers, mean_over (operation mean),
/// draws (operation resample), downstream, readouts, top_k. Axes: layer and component (or
/// named_neuron, or set), then position, operation and draw as in head_ablation. Metrics are
/// derive_effects().
std::unique_ptr<Experiment> parse_component_ablation(MapReader& reader);

}  // namespace mechsweep
