#pragma once

#include <memory>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: interventions`: whatever edits a JSON Lines file lists, one intervention a line
/// (docs/interventions-file.md), on the clean or the corrupt run. Keys: file, base, readouts,
/// top_k.
std::unique_ptr<Experiment> parse_interventions(MapReader& reader);

}  // namespace mechsweep
