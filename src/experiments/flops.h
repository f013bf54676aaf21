#pragma once

#include <cstdint>
#include <span>

#include "engine/intervention.h"
#include "engine/readout.h"
#include "model/model_config.h"

namespace mechsweep {

// Floating-point operations, a multiply and an add counting as two. Norms, rotation and softmax are
// left out: they are below 1%.

/// One whole forward pass of `tokens` tokens; the unembedding on `read_rows` rows only.
double forward_flops(const ModelConfig& model, int64_t tokens, int64_t read_rows);

/// One unedited run up to the last position that is read; of its last layer the projections of all
/// rows, the rest of the rows that are read. `unembedded`: their logits are computed as well.
double base_flops(const ModelConfig& model, int64_t tokens, std::span<const ReadPoint> reads,
                  bool unembedded);

/// What an intervention adds to its base and donor runs, computed once and at hand, in an executor
/// that goes through the layers with the rows that can have changed (docs/engine.md).
///
/// With `recompute`: rows become an intervention's own where it edits them, and from the lowest own
/// one on as soon as their keys and values enter a layer's attention; own rows are computed from
/// the edited site on (resid_pre, q, k and v: the whole layer; pattern and attention edges: from
/// the attention on; z, attn_out and resid_mid: from the output projection on; MLP sites: the MLP;
/// resid_post: the next layer). In the last layer only rows that are read count. With `freeze`:
/// only what stands after an edit inside its own attention block or MLP. Reads before every edit
/// cost nothing: they cannot change.
double intervention_flops(const ModelConfig& model, int64_t tokens,
                          const Intervention& intervention, std::span<const ReadPoint> reads);

}  // namespace mechsweep
