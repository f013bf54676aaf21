#include "model/arch/opt.h"

#include <array>
#include <cstdint>

#include <fmt/format.h>

#include "core/error.h"
#include "model/arch/gpt_family.h"

namespace mechsweep {

namespace {

/// Rows of the position table before that of position 0: a habit of the code it was trained with.
constexpr int64_t kPositionOffset = 2;

ModelConfig config_from_hf(const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config =
      gpt_config(keys, "opt", {"num_hidden_layers", "num_attention_heads", "hidden_size"});
  // The post-norm, projected model of 350M parameters.
  keys.require_unset_or("do_layer_norm_before", true);
  keys.require_unset_or("word_embed_proj_dim", config.d_model);
  keys.require_unset_or("_remove_final_layer_norm", false);
  keys.require_unset_or("layer_norm_elementwise_affine", true);
  config.d_mlp = keys.integer("ffn_dim");
  config.vocab_size = keys.integer("vocab_size");
  config.max_positions = keys.integer_or("max_position_embeddings", 2048);
  config.norm_eps = 1e-5;  // no setting of this architecture
  config.activation = gpt_activation(keys, "activation_function", "relu");
  config.position = PositionKind::learned;
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", true);
  config.attention_biases = keys.flag_or("enable_bias", true);
  config.mlp_biases = config.attention_biases;
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  return config;
}

LayerTensors layer_of_hf(const ModelConfig& config, const std::string& prefix) {
  const auto named = [&](const char* name) { return TensorRef{.name = prefix + name}; };
  // A bias that the config does not promise would be left over, and refused.
  const auto bias = [&](const char* name) {
    return config.attention_biases ? named(name) : TensorRef{};
  };
  return {
      .attn_norm = named("self_attn_layer_norm.weight"),
      .attn_norm_bias = named("self_attn_layer_norm.bias"),
      .q = named("self_attn.q_proj.weight"),
      .k = named("self_attn.k_proj.weight"),
      .v = named("self_attn.v_proj.weight"),
      .q_bias = bias("self_attn.q_proj.bias"),
      .k_bias = bias("self_attn.k_proj.bias"),
      .v_bias = bias("self_attn.v_proj.bias"),
      .o = named("self_attn.out_proj.weight"),
      .o_bias = bias("self_attn.out_proj.bias"),
      .mlp_norm = named("final_layer_norm.weight"),
      .mlp_norm_bias = named("final_layer_norm.bias"),
      .up = named("fc1.weight"),
      .down = named("fc2.weight"),
      .up_bias = bias("fc1.bias"),
      .down_bias = bias("fc2.bias"),
  };
}

ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  // Checkpoints of the bare model have no "model." in front of their names.
  const bool bare = source.find("decoder.embed_tokens.weight") != nullptr;
  const std::string root = bare ? "decoder." : "model.decoder.";
  ModelTensors tensors;
  tensors.embedding = {.name = root + "embed_tokens.weight"};
  tensors.positions = {.name = root + "embed_positions.weight",
                       .rows = {kPositionOffset, kPositionOffset + config.max_positions}};
  for (int layer = 0; layer < config.n_layers; ++layer)
    tensors.layers.push_back(layer_of_hf(config, fmt::format("{}layers.{}.", root, layer)));
  tensors.final_norm = {.name = root + "final_layer_norm.weight"};
  tensors.final_norm_bias = {.name = root + "final_layer_norm.bias"};
  if (!config.tied_embeddings) tensors.unembedding = {.name = "lm_head.weight"};
  return tensors;
}

/// Every stored tensor counts.
bool is_ignored(std::string_view /*name*/) {
  return false;
}

std::string_view transformers_path(std::string_view site) {
  static constexpr std::array<SitePath, 13> kPaths = {{
      {"resid_pre", "model.decoder.layers.{layer} (input)"},
      {"q", "model.decoder.layers.{layer}.self_attn.q_proj (output)"},
      {"k", "model.decoder.layers.{layer}.self_attn.k_proj (output)"},
      {"v", "model.decoder.layers.{layer}.self_attn.v_proj (output)"},
      {"pattern", "model.decoder.layers.{layer}.self_attn (attention weights)"},
      {"z", "model.decoder.layers.{layer}.self_attn.out_proj (input)"},
      {"attn_out", "model.decoder.layers.{layer}.self_attn (output)"},
      {"resid_mid", "model.decoder.layers.{layer}.final_layer_norm (input)"},
      {"mlp_in", "model.decoder.layers.{layer}.final_layer_norm (input)"},
      {"mlp_norm", "model.decoder.layers.{layer}.fc1 (input)"},
      {"mlp_hidden", "model.decoder.layers.{layer}.fc2 (input)"},
      {"mlp_out", "model.decoder.layers.{layer}.fc2 (output)"},
      {"resid_post", "model.decoder.layers.{layer} (output)"},
  }};
  return find_site_path(kPaths, site);
}

}  // namespace

const Architecture kOpt = {
    .name = "opt",
    .summary = "OPT (all but 350M): learned positions, layer norm, ReLU MLP, biases",
    .hf_model_type = "opt",
    .gguf_name = "",
    .config_from_hf = config_from_hf,
    .config_from_gguf = nullptr,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = nullptr,
    .is_ignored = is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
