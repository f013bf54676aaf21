#pragma once

#include "model/arch/config_keys.h"
#include "model/arch/site_paths.h"
#include "model/model_config.h"

namespace mechsweep {

// What GPT-2, GPT-J, GPT-NeoX and OPT have in common: layer norms with biases, an MLP without
// gates, as many key/value heads as query heads, and heads that fill the model's width.

/// Keys under which a family's configs hold its dimensions.
struct GptDimensionKeys {
  const char* layers;
  const char* heads;
  const char* width;
};

/// A config with the family's common parts: norm, layers, heads, width, head size, attention
/// scale. Throws Error{input} naming the key when a dimension is missing, or when the width is not
/// a positive multiple of the heads.
ModelConfig gpt_config(const ConfigKeys& keys, const char* architecture,
                       const GptDimensionKeys& names);

/// The hidden units of the MLP: `key`, or four times config.d_model where it is absent or null.
int gpt_mlp_width(const ConfigKeys& keys, const char* key, const ModelConfig& config);

/// The activation that `key` names in transformers' words; `fallback` where it is absent. Throws
/// Error{input} on one that is not implemented for MLPs without gates.
ActivationKind gpt_activation(const ConfigKeys& keys, const char* key, const char* fallback);

}  // namespace mechsweep
