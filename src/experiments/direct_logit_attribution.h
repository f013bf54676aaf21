#pragma once

#include <memory>
#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: direct_logit_attribution`: what every component of the clean run adds to the tracked
/// logits at the targets, norms held at the run's own scales (engine/direct_logits.h). No keys.
std::unique_ptr<Experiment> parse_direct_logit_attribution(MapReader& reader);

/// For heads, attention biases, MLPs and the rest: what they add to each tracked logit, and to the
/// answer's minus the mean of the wrong ones' where there are any.
std::vector<Metric> derive_direct_logit_attribution(const StoredRun& run);

}  // namespace mechsweep
