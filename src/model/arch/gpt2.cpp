#include "model/arch/gpt2.h"

#include <array>
#include <cstdint>

#include <fmt/format.h>

#include "core/error.h"
#include "model/arch/gpt_family.h"

namespace mechsweep {

namespace {

/// Scores of layer l divided by l + 1.
std::vector<LayerKind> inverse_layer_kinds(int n_layers) {
  std::vector<LayerKind> kinds(n_layers);
  for (int layer = 0; layer < n_layers; ++layer) kinds[layer].score_factor = 1.0 / (layer + 1);
  return kinds;
}

ModelConfig config_from_hf(const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config = gpt_config(keys, "gpt2", {"n_layer", "n_head", "n_embd"});
  config.d_mlp = gpt_mlp_width(keys, "n_inner", config);
  config.vocab_size = keys.integer("vocab_size");
  config.max_positions = keys.integer("n_positions");
  config.norm_eps = keys.number_or("layer_norm_epsilon", 1e-5);
  config.activation = gpt_activation(keys, "activation_function", "gelu_new");
  config.position = PositionKind::learned;
  if (!keys.flag_or("scale_attn_weights", true)) config.attention_scale = 1.0;
  keys.require_unset_or("add_cross_attention", false);
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", true);
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  if (keys.flag_or("scale_attn_by_inverse_layer_idx", false)) {
    config.check();  // the number of layers, before a list of that length is made
    config.layer_kinds = inverse_layer_kinds(config.n_layers);
  }
  return config;
}

/// The format has no keys for the activation or for other scales of the scores: its files hold
/// models that have both as the published GPT-2 does.
ModelConfig config_from_gguf(const Json& metadata) {
  const ConfigKeys keys(metadata);
  ModelConfig config = gpt_config(
      keys, "gpt2", {"gpt2.block_count", "gpt2.attention.head_count", "gpt2.embedding_length"});
  keys.require_unset_or("gpt2.attention.head_count_kv", config.n_heads);
  keys.require_unset_or("gpt2.attention.key_length", config.head_size);
  keys.require_unset_or("gpt2.attention.value_length", config.head_size);
  config.d_mlp = keys.integer("gpt2.feed_forward_length");
  config.vocab_size = keys.gguf_vocab_size("gpt2.vocab_size");
  config.max_positions = keys.integer("gpt2.context_length");
  config.norm_eps = keys.number("gpt2.attention.layer_norm_epsilon");
  config.activation = ActivationKind::gelu_tanh;
  config.position = PositionKind::learned;
  config.bos_token = keys.token_or_none("tokenizer.ggml.bos_token_id");
  config.eos_token = keys.token_or_none("tokenizer.ggml.eos_token_id");
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

ModelTensors tensors_of_gguf(const ModelConfig& config, const TensorSource& source) {
  const int64_t width = config.d_model;
  ModelTensors tensors;
  tensors.embedding = {.name = "token_embd.weight"};
  tensors.positions = {.name = "position_embd.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = fmt::format("blk.{}.", layer);
    const auto named = [&](const char* name) { return TensorRef{.name = prefix + name}; };
    // Matrices are stored [out, in] here.
    const auto third = [&](const char* name, int index) {
      return TensorRef{.name = prefix + name, .rows = {index * width, (index + 1) * width}};
    };
    tensors.layers.push_back({
        .attn_norm = named("attn_norm.weight"),
        .attn_norm_bias = named("attn_norm.bias"),
        .q = third("attn_qkv.weight", 0),
        .k = third("attn_qkv.weight", 1),
        .v = third("attn_qkv.weight", 2),
        .q_bias = third("attn_qkv.bias", 0),
        .k_bias = third("attn_qkv.bias", 1),
        .v_bias = third("attn_qkv.bias", 2),
        .o = named("attn_output.weight"),
        .o_bias = named("attn_output.bias"),
        .mlp_norm = named("ffn_norm.weight"),
        .mlp_norm_bias = named("ffn_norm.bias"),
        .up = named("ffn_up.weight"),
        .down = named("ffn_down.weight"),
        .up_bias = named("ffn_up.bias"),
        .down_bias = named("ffn_down.bias"),
    });
  }
  tensors.final_norm = {.name = "output_norm.weight"};
  tensors.final_norm_bias = {.name = "output_norm.bias"};
  if (source.find("output.weight") != nullptr) tensors.unembedding = {.name = "output.weight"};
  return tensors;
}

/// Causal masks and their fill value, stored as buffers by older versions.
bool is_ignored(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

std::string_view transformers_path(std::string_view site) {
  static constexpr std::array<SitePath, 13> kPaths = {{
      {"resid_pre", "transformer.h.{layer} (input)"},
      {"q", "transformer.h.{layer}.attn.c_attn (output, first third)"},
      {"k", "transformer.h.{layer}.attn.c_attn (output, second third)"},
      {"v", "transformer.h.{layer}.attn.c_attn (output, last third)"},
      {"pattern", "transformer.h.{layer}.attn (attention weights)"},
      {"z", "transformer.h.{layer}.attn.c_proj (input)"},
      {"attn_out", "transformer.h.{layer}.attn (output)"},
      {"resid_mid", "transformer.h.{layer}.ln_2 (input)"},
      {"mlp_in", "transformer.h.{layer}.ln_2 (input)"},
      {"mlp_norm", "transformer.h.{layer}.mlp (input)"},
      {"mlp_hidden", "transformer.h.{layer}.mlp.c_proj (input)"},
      {"mlp_out", "transformer.h.{layer}.mlp (output)"},
      {"resid_post", "transformer.h.{layer} (output)"},
  }};
  return find_site_path(kPaths, site);
}

}  // namespace

const Architecture kGpt2 = {
    .name = "gpt2",
    .summary = "GPT-2: learned positions, layer norm, GELU MLP, biases everywhere",
    .hf_model_type = "gpt2",
    .gguf_name = "gpt2",
    .config_from_hf = config_from_hf,
    .config_from_gguf = config_from_gguf,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = tensors_of_gguf,
    .is_ignored = is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
