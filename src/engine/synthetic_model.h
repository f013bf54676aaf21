#pragma once

#include "model/checkpoint.h"

namespace mechsweep {

/// A checkpoint of random weights that exists in memory only: a Llama of SmolLM2-135M's widths with
/// few layers and a small vocabulary. The same numbers on every machine.
Checkpoint synthetic_checkpoint(int layers);

/// The same with the widths of another model: heads, sizes, gate; norms and positions as Llama's.
Checkpoint synthetic_checkpoint(const ModelConfig& like, int layers);

}  // namespace mechsweep
