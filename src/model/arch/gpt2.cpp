#include "model/arch/gpt2.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "core/error.h"
#include "model/arch/config_keys.h"

namespace mechsweep {

namespace {

ActivationKind activation_of(const std::string& name) {
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return ActivationKind::gelu_tanh;
  if (name == "gelu") return ActivationKind::gelu_erf;
  fail(ErrorKind::input, "'activation_function' is '{}', which this version cannot compute", name);
}

ModelConfig config_from_hf(const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config;
  config.architecture = "gpt2";
  config.n_layers = keys.integer("n_layer");
  config.n_heads = keys.integer("n_head");
  config.n_kv_heads = config.n_heads;
  config.d_model = keys.integer("n_embd");
  if (config.n_heads < 1 || config.d_model < 1 || config.d_model % config.n_heads != 0)
    fail(ErrorKind::input, "'n_embd' {} is not a positive multiple of 'n_head' {}", config.d_model,
         config.n_heads);
  config.head_size = config.d_model / config.n_heads;
  config.d_mlp = keys.integer_or("n_inner", 4 * std::min(config.d_model, INT32_MAX / 4));
  config.vocab_size = keys.integer("vocab_size");
  config.max_positions = keys.integer("n_positions");
  config.norm = NormKind::layer;
  config.norm_eps = keys.number_or("layer_norm_epsilon", 1e-5);
  config.activation = activation_of(keys.text_or("activation_function", "gelu_new"));
  config.gated_mlp = false;
  config.position = PositionKind::learned;
  config.attention_scale = 1.0 / std::sqrt(config.head_size);
  keys.require_unset_or("scale_attn_weights", true);
  keys.require_unset_or("scale_attn_by_inverse_layer_idx", false);
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", true);
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  return config;
}

ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  // Checkpoints of the bare model have no "transformer." in front of their names.
  const std::string root = source.find("transformer.wte.weight") != nullptr ? "transformer." : "";
  const int64_t width = config.d_model;
  ModelTensors tensors;
  tensors.embedding = {.name = root + "wte.weight"};
  tensors.positions = {.name = root + "wpe.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = fmt::format("{}h.{}.", root, layer);
    const auto vector = [&](const char* name) { return TensorRef{.name = prefix + name}; };
    const auto conv1d = [&](const char* name) {
      return TensorRef{.name = prefix + name, .transposed = true};
    };
    // One Conv1D makes q, k and v side by side.
    const auto third = [&](const char* name, int index, bool matrix) {
      return TensorRef{.name = prefix + name,
                       .transposed = matrix,
                       .rows = {index * width, (index + 1) * width}};
    };
    tensors.layers.push_back({
        .attn_norm = vector("ln_1.weight"),
        .attn_norm_bias = vector("ln_1.bias"),
        .q = third("attn.c_attn.weight", 0, true),
        .k = third("attn.c_attn.weight", 1, true),
        .v = third("attn.c_attn.weight", 2, true),
        .q_bias = third("attn.c_attn.bias", 0, false),
        .k_bias = third("attn.c_attn.bias", 1, false),
        .v_bias = third("attn.c_attn.bias", 2, false),
        .o = conv1d("attn.c_proj.weight"),
        .o_bias = vector("attn.c_proj.bias"),
        .mlp_norm = vector("ln_2.weight"),
        .mlp_norm_bias = vector("ln_2.bias"),
        .up = conv1d("mlp.c_fc.weight"),
        .down = conv1d("mlp.c_proj.weight"),
        .up_bias = vector("mlp.c_fc.bias"),
        .down_bias = vector("mlp.c_proj.bias"),
    });
  }
  tensors.final_norm = {.name = root + "ln_f.weight"};
  tensors.final_norm_bias = {.name = root + "ln_f.bias"};
  if (!config.tied_embeddings) tensors.unembedding = {.name = "lm_head.weight"};
  return tensors;
}

/// Causal masks and their fill value, stored as buffers by older versions.
bool is_ignored(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

std::string_view transformers_path(std::string_view site) {
  if (site == "resid_pre") return "transformer.h.{layer} (input)";
  if (site == "resid_mid") return "transformer.h.{layer}.ln_2 (input)";
  if (site == "resid_post") return "transformer.h.{layer} (output)";
  if (site == "z") return "transformer.h.{layer}.attn.c_proj (input)";
  if (site == "attn_out") return "transformer.h.{layer}.attn (output)";
  if (site == "mlp_out") return "transformer.h.{layer}.mlp (output)";
  if (site == "pattern") return "transformer.h.{layer}.attn (attention weights)";
  return "";
}

}  // namespace

const Architecture kGpt2 = {
    .name = "gpt2",
    .summary = "GPT-2: learned positions, layer norm, GELU MLP, biases everywhere",
    .hf_model_type = "gpt2",
    .gguf_name = "",
    .config_from_hf = config_from_hf,
    .config_from_gguf = nullptr,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = nullptr,
    .is_ignored = is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
