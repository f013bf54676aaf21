#pragma once

#include <cstdint>

#include "model/model_config.h"

namespace mechsweep {

/// Floating-point operations of one whole forward pass of `tokens` tokens, a multiply and an add
/// counting as two; the unembedding on `read_rows` rows only. Norms, rotation and softmax are left
/// out: they are below 1%.
double forward_flops(const ModelConfig& model, int64_t tokens, int64_t read_rows);

}  // namespace mechsweep
