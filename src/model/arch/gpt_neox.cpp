#include "model/arch/gpt_neox.h"

#include <array>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_text.h"
#include "model/arch/gpt_family.h"
#include "model/arch/rope_keys.h"

namespace mechsweep {

namespace {

/// The config with its rotary settings in the spelling of other families. Base and share have keys
/// of this family's own (`rotary_emb_base`, `rotary_pct`) where the map of settings lacks them, and
/// a share that nothing gives is a quarter.
Json with_common_rotary_keys(const Json& json) {
  const ConfigKeys keys(json);
  const bool older = keys.has("rope_scaling") && !json.at("rope_scaling").empty();
  const char* name = older ? "rope_scaling" : "rope_parameters";
  Json settings = keys.has(name) ? json.at(name) : Json::object();
  if (!settings.is_object())
    fail(ErrorKind::input, "'{}' is {}, not a map of settings", name, show_json(settings));
  const ConfigKeys given(settings);
  if (!given.has("rope_theta")) settings["rope_theta"] = keys.number_or("rotary_emb_base", 10000.0);
  if (!given.has("partial_rotary_factor"))
    settings["partial_rotary_factor"] = keys.number_or("rotary_pct", 0.25);
  Json common = json;
  common.erase("rope_scaling");
  common.erase("rope_parameters");
  for (const char* key : {"rope_theta", "partial_rotary_factor"}) {
    // The reference never reads these outside the map; published files repeat the same values.
    if (keys.has(key) && json.at(key) != settings.at(key))
      fail(ErrorKind::input,
           "'{}' is {}, but the settings that this architecture goes by ('{}', 'rotary_emb_base', "
           "'rotary_pct') say {}; make them agree",
           key, show_json(json.at(key)), name, show_json(settings.at(key)));
    common[key] = settings.at(key);
  }
  common[name] = std::move(settings);
  return common;
}

ModelConfig config_from_hf(const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config =
      gpt_config(keys, "gpt_neox", {"num_hidden_layers", "num_attention_heads", "hidden_size"});
  // The reference takes it for the rotary table, but not for the heads.
  keys.require_unset_or("head_dim", config.head_size);
  config.d_mlp = keys.integer("intermediate_size");
  config.vocab_size = keys.integer("vocab_size");
  config.max_positions = keys.integer_or("max_position_embeddings", 2048);
  config.norm_eps = keys.number_or("layer_norm_eps", 1e-5);
  config.activation = gpt_activation(keys, "hidden_act", "gelu");
  config.rope = rope_from_hf(with_common_rotary_keys(json), config);
  config.parallel_residual = keys.flag_or("use_parallel_residual", true);
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", false);
  config.attention_biases = keys.flag_or("attention_bias", true);
  config.mlp_biases = true;
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  return config;
}

LayerTensors layer_of_hf(const ModelConfig& config, const std::string& prefix) {
  const auto named = [&](const char* name) { return TensorRef{.name = prefix + name}; };
  // A bias that the config does not promise would be left over, and refused.
  const auto promised = [&](TensorRef ref) {
    return config.attention_biases ? std::move(ref) : TensorRef{};
  };
  // One product makes q, k and v, head by head: E rows of each in turn.
  const int64_t size = config.head_size;
  const auto third = [&](const char* name, int64_t index) {
    return TensorRef{
        .name = prefix + name,
        .pieces = {
            .count = config.n_heads, .offset = index * size, .size = size, .stride = 3 * size}};
  };
  return {
      .attn_norm = named("input_layernorm.weight"),
      .attn_norm_bias = named("input_layernorm.bias"),
      .q = third("attention.query_key_value.weight", 0),
      .k = third("attention.query_key_value.weight", 1),
      .v = third("attention.query_key_value.weight", 2),
      .q_bias = promised(third("attention.query_key_value.bias", 0)),
      .k_bias = promised(third("attention.query_key_value.bias", 1)),
      .v_bias = promised(third("attention.query_key_value.bias", 2)),
      .o = named("attention.dense.weight"),
      .o_bias = promised(named("attention.dense.bias")),
      .mlp_norm = named("post_attention_layernorm.weight"),
      .mlp_norm_bias = named("post_attention_layernorm.bias"),
      .up = named("mlp.dense_h_to_4h.weight"),
      .down = named("mlp.dense_4h_to_h.weight"),
      .up_bias = named("mlp.dense_h_to_4h.bias"),
      .down_bias = named("mlp.dense_4h_to_h.bias"),
  };
}

ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  // Checkpoints of the bare model have no "gpt_neox." in front of their names.
  const std::string root = source.find("gpt_neox.embed_in.weight") != nullptr ? "gpt_neox." : "";
  ModelTensors tensors;
  tensors.embedding = {.name = root + "embed_in.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer)
    tensors.layers.push_back(layer_of_hf(config, fmt::format("{}layers.{}.", root, layer)));
  tensors.final_norm = {.name = root + "final_layer_norm.weight"};
  tensors.final_norm_bias = {.name = root + "final_layer_norm.bias"};
  if (!config.tied_embeddings) {
    const bool renamed = source.find("lm_head.weight") != nullptr;
    tensors.unembedding = {.name = renamed ? "lm_head.weight" : "embed_out.weight"};
  }
  return tensors;
}

/// Causal masks, their fill value and rotary tables, stored as buffers by older versions.
bool is_ignored(std::string_view name) {
  return name.ends_with(".attention.bias") || name.ends_with(".attention.masked_bias") ||
         name.ends_with("rotary_emb.inv_freq");
}

std::string_view transformers_path(std::string_view site) {
  static constexpr std::array<SitePath, 13> kPaths = {{
      {"resid_pre", "gpt_neox.layers.{layer} (input)"},
      {"q", "gpt_neox.layers.{layer}.attention.query_key_value (output, first third of a head)"},
      {"k", "gpt_neox.layers.{layer}.attention.query_key_value (output, second third of a head)"},
      {"v", "gpt_neox.layers.{layer}.attention.query_key_value (output, last third of a head)"},
      {"pattern", "gpt_neox.layers.{layer}.attention (attention weights)"},
      {"z", "gpt_neox.layers.{layer}.attention.dense (input)"},
      {"attn_out", "gpt_neox.layers.{layer}.attention (output)"},
      {"resid_mid", "gpt_neox.layers.{layer}.post_attention_layernorm (input)"},
      {"mlp_in", "gpt_neox.layers.{layer}.post_attention_layernorm (input)"},
      {"mlp_norm", "gpt_neox.layers.{layer}.mlp (input)"},
      {"mlp_hidden", "gpt_neox.layers.{layer}.mlp.dense_4h_to_h (input)"},
      {"mlp_out", "gpt_neox.layers.{layer}.mlp (output)"},
      {"resid_post", "gpt_neox.layers.{layer} (output)"},
  }};
  return find_site_path(kPaths, site);
}

}  // namespace

// No GGUF: those files do not say which GELU the model was trained with.
const Architecture kGptNeox = {
    .name = "gpt_neox",
    .summary = "GPT-NeoX and Pythia: partly rotated heads, layer norm, parallel or serial residual",
    .hf_model_type = "gpt_neox",
    .gguf_name = "",
    .config_from_hf = config_from_hf,
    .config_from_gguf = nullptr,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = nullptr,
    .is_ignored = is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
