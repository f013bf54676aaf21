#pragma once

#include "core/json.h"
#include "model/model_config.h"

namespace mechsweep {

/// The rotary settings of a Hugging Face config, in every spelling that published folders have:
/// `rope_theta` with `rope_scaling` (and `type` for `rope_type`), or `rope_parameters`, which may
/// be one map or (for `layer_type`, such as "sliding_attention") a map of maps. `dimensions` of a
/// head of `head_size` follow from `partial_rotary_factor`. Types default, linear, llama3, yarn,
/// dynamic and longrope; the last two change with a prompt's length beyond the original context,
/// and dynamic raises `config.max_positions` to its factor times that. Throws Error{input} on an
/// unknown type, naming the key.
RopeConfig rope_from_hf(const Json& json, ModelConfig& config, const char* layer_type = "");

}  // namespace mechsweep
