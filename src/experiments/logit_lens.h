#pragma once

#include <memory>
#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// `kind: logit_lens`: what the residual stream of the clean run says through the model's own final
/// norm and unembedding, layer by layer (nostalgebraist 2020, "interpreting GPT: the logit lens").
/// Keys: site (required: resid_pre, resid_mid, resid_post, or a list, which makes an axis),
/// positions (targets by default; each and lists of indices make an axis), layers, readouts, top_k.
std::unique_ptr<Experiment> parse_logit_lens(MapReader& reader);

/// The numbers of an effect run under the lens's names, and `correct`: whether the largest logit is
/// the answer's.
std::vector<Metric> derive_logit_lens(const StoredRun& run);

}  // namespace mechsweep
