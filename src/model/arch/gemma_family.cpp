#include "model/arch/gemma_family.h"

#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "model/arch/config_keys.h"
#include "model/arch/llama_family.h"

namespace mechsweep {

namespace {

ActivationKind activation_of(const std::string& name) {
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return ActivationKind::gelu_tanh;
  if (name == "gelu") return ActivationKind::gelu_erf;
  if (name == "silu") return ActivationKind::silu;
  if (name == "relu") return ActivationKind::relu;
  fail(ErrorKind::input,
       "'hidden_activation' is '{}', which this version cannot compute (it can: "
       "gelu_pytorch_tanh, gelu_new, gelu, silu, relu)",
       name);
}

/// A window in all layers but every `period`th.
void set_periodic_windows(const std::string& key, int period, int window, ModelConfig& config) {
  if (period < 1) fail(ErrorKind::input, "'{}' is {}, not a number of layers", key, period);
  config.check();
  config.layer_kinds.assign(config.n_layers, {});
  for (int layer = 0; layer < config.n_layers; ++layer)
    if ((layer + 1) % period != 0) config.layer_kinds[layer].window = window;
}

/// A window in the layers that 'layer_types' says so of.
void set_listed_windows(const Json& types, int window, ModelConfig& config) {
  const std::vector<bool> sliding = sliding_layers(types, config.n_layers);
  config.check();
  for (const bool slides : sliding) config.layer_kinds.push_back({.window = slides ? window : 0});
}

std::string gguf_key(const GemmaGeneration& generation, const char* name) {
  return fmt::format("{}.{}", generation.name, name);
}

/// Keys of related models that would change the numbers.
void refuse_foreign_gguf_keys(const GemmaGeneration& generation, const ConfigKeys& keys,
                              int head_size) {
  const auto key = [&](const char* name) { return gguf_key(generation, name); };
  for (const char* name :
       {"attention.value_length", "attention.key_length_swa", "attention.value_length_swa",
        "rope.dimension_count", "rope.dimension_count_swa"})
    keys.require_unset_or(key(name), head_size);
  for (const char* name :
       {"rope.scale_linear", "rope.scaling.attn_factor", "logit_scale", "residual_scale"})
    keys.require_unset_or(key(name), 1.0);
  keys.require_unset_or(key("attention.causal"), true);
  keys.require_unset_or(key("attention.shared_kv_layers"), 0);
}

/// Rotation of layers without a window: at most linearly scaled.
RopeConfig rope_from_gguf(const GemmaGeneration& generation, const ConfigKeys& keys,
                          int head_size) {
  const std::string base = gguf_key(generation, "rope.freq_base");
  RopeConfig rope{.dimensions = head_size};
  rope.theta = generation.theta_of_gguf > 0.0 ? keys.number_or(base, generation.theta_of_gguf)
                                              : keys.number(base);
  // llama.cpp takes a factor without a type for a linear one, and 0 for none.
  const std::string type_key = gguf_key(generation, "rope.scaling.type");
  const std::string type = keys.text_or(type_key, "linear");
  if (type == "none") return rope;
  if (type != "linear") keys.require_unset_or(type_key, "linear");
  const std::string factor_key = gguf_key(generation, "rope.scaling.factor");
  const double factor = keys.number_or(factor_key, 0.0);
  if (factor == 0.0) return rope;
  if (!(std::isfinite(factor) && factor > 0.0))
    fail(ErrorKind::input, "'{}' is {}, not a number above 0", factor_key, factor);
  rope.scaling = RopeScaling::linear;
  rope.factor = factor;
  return rope;
}

/// The convention: the head size decides, in the 27B model the width that falls to a head. Programs
/// differ about sizes that were never published.
double attention_scale_from_gguf(const GemmaGeneration& generation, const ConfigKeys& keys,
                                 const ModelConfig& config) {
  const std::string heads_key = gguf_key(generation, "attention.head_count");
  if (config.n_heads < 1)
    fail(ErrorKind::input, "'{}' is {}, not a number of heads", heads_key, config.n_heads);
  const int share = config.d_model / config.n_heads;
  const bool by_share = config.n_layers == generation.layers_of_27b;
  if (!by_share && config.head_size != 256 && config.head_size != share)
    fail(ErrorKind::input,
         "'{}' is {} and '{}' {} in a model of width {}: no published model has these sizes, and "
         "GGUF does not hold the scale of its queries; use the Hugging Face folder instead",
         gguf_key(generation, "attention.key_length"), config.head_size, heads_key, config.n_heads,
         config.d_model);
  const double scale = 1.0 / std::sqrt(by_share ? share : config.head_size);
  keys.require_unset_or(gguf_key(generation, "attention.scale"), scale);
  return scale;
}

void set_windows_from_gguf(const GemmaGeneration& generation, const ConfigKeys& keys,
                           ModelConfig& config) {
  const std::string key = gguf_key(generation, "attention.sliding_window");
  const int window = keys.integer_or(key, generation.window_of_gguf);
  if (window == 0 && generation.window_of_gguf == 0) return;
  if (window < 1) fail(ErrorKind::input, "'{}' is {}, not a number of keys above 0", key, window);
  const std::string pattern = gguf_key(generation, "attention.sliding_window_pattern");
  set_periodic_windows(pattern, keys.integer_or(pattern, generation.window_period), window, config);
}

/// Hugging Face folders store norms as their difference from 1.
TensorRef shifted_norm(int layer, const char* name) {
  TensorRef ref = llama_hf_tensor(layer, name);
  ref.add_one = true;
  return ref;
}

}  // namespace

ModelConfig gemma_config_from_hf(const GemmaGeneration& generation, const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config;
  config.architecture = generation.name;
  config.n_layers = keys.integer("num_hidden_layers");
  config.n_heads = keys.integer_or("num_attention_heads", 8);
  config.n_kv_heads = keys.integer_or("num_key_value_heads", 4);
  config.d_model = keys.integer("hidden_size");
  config.head_size = keys.integer_or("head_dim", 256);
  config.d_mlp = keys.integer("intermediate_size");
  config.vocab_size = keys.integer_or("vocab_size", generation.vocab_size);
  config.max_positions = keys.integer_or("max_position_embeddings", generation.max_positions);
  config.norm_eps = keys.number_or("rms_norm_eps", 1e-6);
  config.activation = activation_of(keys.text_or("hidden_activation", "gelu_pytorch_tanh"));
  config.attention_scale = 1.0 / std::sqrt(keys.number_or("query_pre_attn_scalar", 256.0));
  config.qk_norm = generation.qk_norm;
  config.embedding_scale = std::sqrt(config.d_model);
  keys.require_unset_or("use_bidirectional_attention", false);
  keys.require_unset_or("partial_rotary_factor", 1.0);
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", true);
  config.attention_biases = keys.flag_or("attention_bias", false);
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  return config;
}

void set_gemma_windows(const GemmaGeneration& generation, const Json& json, ModelConfig& config) {
  const ConfigKeys keys(json);
  // transformers cannot run such a config.
  if (json.contains("sliding_window") && !keys.has("sliding_window"))
    fail(ErrorKind::input,
         "'sliding_window' is null, but layers of this architecture slide; write how many keys a "
         "query of such a layer sees");
  const int window = keys.integer_or("sliding_window", 4096);
  if (window < 1)
    fail(ErrorKind::input, "'sliding_window' is {}, not a number of keys above 0", window);
  if (keys.has("layer_types")) return set_listed_windows(json.at("layer_types"), window, config);
  constexpr const char* kPattern = "sliding_window_pattern";
  set_periodic_windows(kPattern, keys.integer_or(kPattern, generation.window_period), window,
                       config);
}

ModelConfig gemma_config_from_gguf(const GemmaGeneration& generation, const Json& metadata) {
  const ConfigKeys keys(metadata);
  const auto key = [&](const char* name) { return gguf_key(generation, name); };
  ModelConfig config;
  config.architecture = generation.name;
  config.n_layers = keys.integer(key("block_count"));
  config.n_heads = keys.integer(key("attention.head_count"));
  config.n_kv_heads = keys.integer(key("attention.head_count_kv"));
  config.d_model = keys.integer(key("embedding_length"));
  config.head_size = keys.integer(key("attention.key_length"));
  config.d_mlp = keys.integer(key("feed_forward_length"));
  config.vocab_size = keys.gguf_vocab_size(key("vocab_size"));
  config.max_positions = keys.integer(key("context_length"));
  config.norm_eps = keys.number(key("attention.layer_norm_rms_epsilon"));
  config.activation = ActivationKind::gelu_tanh;
  refuse_foreign_gguf_keys(generation, keys, config.head_size);
  config.rope = rope_from_gguf(generation, keys, config.head_size);
  config.attention_scale = attention_scale_from_gguf(generation, keys, config);
  config.qk_norm = generation.qk_norm;
  config.embedding_scale = std::sqrt(config.d_model);
  keys.require_unset_or(key("embedding_scale"), config.embedding_scale);
  config.bos_token = keys.token_or_none("tokenizer.ggml.bos_token_id");
  config.eos_token = keys.token_or_none("tokenizer.ggml.eos_token_id");
  set_windows_from_gguf(generation, keys, config);
  return config;
}

double gemma_soft_cap(const Json& json, const std::string& key, double missing) {
  if (!json.contains(key)) return missing;
  if (json.at(key).is_null()) return 0.0;
  const double cap = ConfigKeys(json).number(key);
  if (!(std::isfinite(cap) && cap > 0.0))
    fail(ErrorKind::input, "'{}' is {}, not a number above 0 (null: no cap)", key, cap);
  return cap;
}

void refuse_partial_gemma_rope(const RopeConfig& rope, const ModelConfig& config) {
  if (rope.dimensions != config.head_size)
    fail(ErrorKind::input,
         "'partial_rotary_factor' leaves {} of {} dimensions of a head, but this architecture "
         "rotates whole heads",
         rope.dimensions, config.head_size);
}

ModelTensors gemma_tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_hf(config, source);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    LayerTensors& one = tensors.layers[layer];
    one.attn_norm = shifted_norm(layer, "input_layernorm.weight");
    one.attn_post_norm = shifted_norm(layer, "post_attention_layernorm.weight");
    one.mlp_norm = shifted_norm(layer, "pre_feedforward_layernorm.weight");
    one.mlp_post_norm = shifted_norm(layer, "post_feedforward_layernorm.weight");
    if (config.qk_norm == QkNormKind::none) continue;
    one.q_norm = shifted_norm(layer, "self_attn.q_norm.weight");
    one.k_norm = shifted_norm(layer, "self_attn.k_norm.weight");
  }
  tensors.final_norm.add_one = true;
  return tensors;
}

/// Norms are whole in GGUF: the converter adds the 1.
ModelTensors gemma_tensors_of_gguf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_gguf(config, source);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    LayerTensors& one = tensors.layers[layer];
    one.attn_post_norm = llama_gguf_tensor(layer, "post_attention_norm.weight");
    one.mlp_post_norm = llama_gguf_tensor(layer, "post_ffw_norm.weight");
  }
  if (config.qk_norm != QkNormKind::none) add_gguf_qk_norms(tensors);
  return tensors;
}

std::string_view gemma_transformers_path(std::string_view site) {
  if (site == "attn_out") return "model.layers.{layer}.post_attention_layernorm (output)";
  if (site == "resid_mid" || site == "mlp_in")
    return "model.layers.{layer}.pre_feedforward_layernorm (input)";
  if (site == "mlp_out") return "model.layers.{layer}.post_feedforward_layernorm (output)";
  return llama_transformers_path(site);
}

}  // namespace mechsweep
