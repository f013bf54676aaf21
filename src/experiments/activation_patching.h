#pragma once

#include <memory>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: activation_patching`: the value of a site in the donor run replaces the one in the base
/// run. Keys: site, direction, positions (required), layers, heads (sites with heads), operation
/// (replace), downstream, readouts, top_k.
std::unique_ptr<Experiment> parse_activation_patching(MapReader& reader);

}  // namespace mechsweep
