#include "model/arch/gpt_family.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/error.h"

namespace mechsweep {

ModelConfig gpt_config(const ConfigKeys& keys, const char* architecture,
                       const GptDimensionKeys& names) {
  ModelConfig config;
  config.architecture = architecture;
  config.n_layers = keys.integer(names.layers);
  config.n_heads = keys.integer(names.heads);
  config.n_kv_heads = config.n_heads;
  config.d_model = keys.integer(names.width);
  if (config.n_heads < 1 || config.d_model < 1 || config.d_model % config.n_heads != 0)
    fail(ErrorKind::input, "'{}' {} is not a positive multiple of '{}' {} (the number of heads)",
         names.width, config.d_model, names.heads, config.n_heads);
  config.head_size = config.d_model / config.n_heads;
  config.attention_scale = 1.0 / std::sqrt(config.head_size);
  config.norm = NormKind::layer;
  config.gated_mlp = false;
  return config;
}

int gpt_mlp_width(const ConfigKeys& keys, const char* key, const ModelConfig& config) {
  return keys.integer_or(key, 4 * std::min(config.d_model, INT32_MAX / 4));
}

ActivationKind gpt_activation(const ConfigKeys& keys, const char* key, const char* fallback) {
  const std::string name = keys.text_or(key, fallback);
  // The tanh forms differ in how they are written, by less than rounding in what they compute.
  for (const char* tanh_form :
       {"gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"})
    if (name == tanh_form) return ActivationKind::gelu_tanh;
  if (name == "gelu" || name == "gelu_python") return ActivationKind::gelu_erf;
  if (name == "relu") return ActivationKind::relu;
  fail(ErrorKind::input,
       "'{}' is '{}', which this version cannot compute (it can: gelu, gelu_new and their other "
       "names, relu)",
       key, name);
}

}  // namespace mechsweep
