#include "model/arch/llama_family.h"

#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_text.h"
#include "model/arch/config_keys.h"
#include "model/arch/rope_keys.h"
#include "model/arch/site_paths.h"

namespace mechsweep {

namespace {

/// transformers rotates the whole head and leaves such a key unread, or fails.
void refuse_partial_rotation(const Json& json) {
  constexpr const char* kKey = "partial_rotary_factor";
  const ConfigKeys keys(json);
  keys.require_unset_or(kKey, 1.0);
  for (const char* name : {"rope_scaling", "rope_parameters"})
    if (keys.has(name)) ConfigKeys(json.at(name)).require_unset_or(kKey, 1.0);
}

/// Heads of the width's even share, where no key says more.
int shared_head_size(const ModelConfig& config) {
  return config.n_heads > 0 ? config.d_model / config.n_heads : 0;
}

/// Rotation of whole heads: rows may be stored in pairs, which a part would need otherwise.
RopeConfig rope_from_gguf(const ConfigKeys& keys, const std::string& prefix, int head_size) {
  keys.require_unset_or(prefix + "rope.dimension_count", head_size);
  keys.require_unset_or(prefix + "rope.scaling.attn_factor", 1.0);
  RopeConfig rope = {.theta = keys.number_or(prefix + "rope.freq_base", 10000.0),
                     .dimensions = head_size};
  // llama.cpp takes a factor without a type for a linear one, under an older key too.
  const std::string type = keys.text_or(prefix + "rope.scaling.type", "linear");
  if (type == "none") return rope;
  if (type != "linear") keys.require_unset_or(prefix + "rope.scaling.type", "none");
  for (const char* name : {"rope.scaling.factor", "rope.scale_linear"}) {
    const std::string key = prefix + name;
    if (!keys.has(key)) continue;
    const double factor = keys.number(key);
    if (factor == 0.0 || factor == 1.0) return rope;  // 0 is llama.cpp's way to say none
    if (!(std::isfinite(factor) && factor > 0.0))
      fail(ErrorKind::input, "'{}' is {}, not a number above 0", key, factor);
    rope.scaling = RopeScaling::linear;
    rope.factor = factor;
    return rope;
  }
  return rope;
}

/// Keys of related models that would change the numbers.
void refuse_foreign_gguf_keys(const ConfigKeys& keys, const std::string& prefix,
                              const ModelConfig& config) {
  for (const char* name : {"logit_scale", "residual_scale", "embedding_scale"})
    keys.require_unset_or(prefix + name, 1.0);
  keys.require_unset_or(prefix + "attention.scale", config.attention_scale);
  keys.require_unset_or(prefix + "attention.causal", true);
  const std::string key = prefix + "attention.sliding_window";
  const int window = keys.integer_or(key, 0);
  if (window > 0 && window < config.max_positions)
    fail(ErrorKind::input,
         "'{}' is {}, but which layers have a window is not written in GGUF files of this "
         "architecture; use the Hugging Face folder instead",
         key, window);
}

TensorRef optional_tensor(const TensorSource& source, const TensorRef& ref) {
  return source.find(ref.name) != nullptr ? ref : TensorRef{};
}

}  // namespace

ModelConfig llama_config_from_hf(const Json& json, const char* architecture,
                                 const LlamaDefaults& defaults) {
  const ConfigKeys keys(json);
  ModelConfig config;
  config.architecture = architecture;
  config.n_layers = keys.integer("num_hidden_layers");
  config.n_heads = keys.integer("num_attention_heads");
  // Null, unlike no key at all, means one for each query head everywhere.
  const bool default_groups = defaults.n_kv_heads > 0 && !json.contains("num_key_value_heads");
  config.n_kv_heads =
      keys.integer_or("num_key_value_heads", default_groups ? defaults.n_kv_heads : config.n_heads);
  config.d_model = keys.integer("hidden_size");
  config.head_size = keys.integer_or(
      "head_dim", defaults.head_size > 0 ? defaults.head_size : shared_head_size(config));
  config.d_mlp = keys.integer("intermediate_size");
  config.vocab_size = keys.integer("vocab_size");
  config.max_positions = keys.integer_or("max_position_embeddings", defaults.max_positions);
  config.norm_eps = keys.number_or("rms_norm_eps", defaults.norm_eps);
  keys.require_unset_or("hidden_act", "silu");
  config.rope = rope_from_hf(json, config);
  if (!defaults.partial_rotary) refuse_partial_rotation(json);
  config.attention_scale = 1.0 / std::sqrt(config.head_size);
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", false);
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  return config;
}

int llama_window_from_hf(const Json& json, int missing) {
  constexpr const char* kKey = "sliding_window";
  if (!json.contains(kKey)) return missing;
  if (json.at(kKey).is_null()) return 0;
  const int window = ConfigKeys(json).integer(kKey);
  if (window < 1)
    fail(ErrorKind::input, "'{}' is {}, not a number of keys above 0 (null: no window)", kKey,
         window);
  return window;
}

void set_llama_window(ModelConfig& config, int window) {
  config.check();
  if (window > 0) config.layer_kinds.assign(config.n_layers, {.window = window});
}

std::vector<bool> sliding_layers(const Json& types, int n_layers) {
  if (!types.is_array() || static_cast<int64_t>(types.size()) != n_layers)
    fail(ErrorKind::input, "'layer_types' is not a list of {} types, one for each layer", n_layers);
  std::vector<bool> sliding;
  for (const Json& type : types) {
    sliding.push_back(type == "sliding_attention");
    if (!sliding.back() && type != "full_attention")
      fail(ErrorKind::input,
           "'layer_types' has {}, which this version cannot compute (it can: sliding_attention, "
           "full_attention)",
           show_json(type));
  }
  return sliding;
}

void set_qwen_windows(const Json& json, ModelConfig& config) {
  const ConfigKeys keys(json);
  config.check();
  const int window =
      keys.flag_or("use_sliding_window", false) ? llama_window_from_hf(json, 4096) : 0;
  std::vector<LayerKind> kinds(config.n_layers);
  bool any = false;
  const auto set = [&](int layer, bool sliding) {
    any = any || sliding;
    if (sliding) kinds[layer].window = window;
  };
  if (keys.has("layer_types")) {
    const std::vector<bool> sliding = sliding_layers(json.at("layer_types"), config.n_layers);
    for (int layer = 0; layer < config.n_layers; ++layer) set(layer, sliding[layer]);
    if (any && window == 0)
      fail(ErrorKind::input,
           "'layer_types' has sliding_attention, but 'use_sliding_window' and 'sliding_window' "
           "give no window");
  } else {
    const int first = keys.integer_or("max_window_layers", 28);
    for (int layer = 0; layer < config.n_layers; ++layer) set(layer, window > 0 && layer >= first);
  }
  if (any) config.layer_kinds = std::move(kinds);
}

TensorRef llama_hf_tensor(int layer, const char* name) {
  return {.name = fmt::format("model.layers.{}.{}", layer, name)};
}

ModelTensors llama_tensors_of_hf(const ModelConfig& config, const TensorSource& /*source*/) {
  ModelTensors tensors;
  tensors.embedding = {.name = "model.embed_tokens.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const auto named = [&](const char* name) { return llama_hf_tensor(layer, name); };
    // A bias that the config does not promise would be left over, and refused.
    const auto promised = [&](bool promise, const char* name) {
      return promise ? named(name) : TensorRef{};
    };
    tensors.layers.push_back({
        .attn_norm = named("input_layernorm.weight"),
        .q = named("self_attn.q_proj.weight"),
        .k = named("self_attn.k_proj.weight"),
        .v = named("self_attn.v_proj.weight"),
        .q_bias = promised(config.attention_biases, "self_attn.q_proj.bias"),
        .k_bias = promised(config.attention_biases, "self_attn.k_proj.bias"),
        .v_bias = promised(config.attention_biases, "self_attn.v_proj.bias"),
        .o = named("self_attn.o_proj.weight"),
        .o_bias = promised(config.attention_biases, "self_attn.o_proj.bias"),
        .mlp_norm = named("post_attention_layernorm.weight"),
        .gate = named("mlp.gate_proj.weight"),
        .up = named("mlp.up_proj.weight"),
        .down = named("mlp.down_proj.weight"),
        .gate_bias = promised(config.mlp_biases, "mlp.gate_proj.bias"),
        .up_bias = promised(config.mlp_biases, "mlp.up_proj.bias"),
        .down_bias = promised(config.mlp_biases, "mlp.down_proj.bias"),
    });
  }
  tensors.final_norm = {.name = "model.norm.weight"};
  if (!config.tied_embeddings) tensors.unembedding = {.name = "lm_head.weight"};
  return tensors;
}

void add_llama_qk_norms(ModelTensors& tensors) {
  int layer = 0;
  for (LayerTensors& one : tensors.layers) {
    one.q_norm = llama_hf_tensor(layer, "self_attn.q_norm.weight");
    one.k_norm = llama_hf_tensor(layer, "self_attn.k_norm.weight");
    ++layer;
  }
}

ModelConfig llama_config_from_gguf(const Json& metadata, const char* name) {
  const ConfigKeys keys(metadata);
  const std::string prefix = fmt::format("{}.", name);
  ModelConfig config;
  config.architecture = name;
  config.n_layers = keys.integer(prefix + "block_count");
  config.n_heads = keys.integer(prefix + "attention.head_count");
  config.n_kv_heads = keys.integer_or(prefix + "attention.head_count_kv", config.n_heads);
  config.d_model = keys.integer(prefix + "embedding_length");
  config.head_size = keys.integer_or(prefix + "attention.key_length", shared_head_size(config));
  keys.require_unset_or(prefix + "attention.value_length", config.head_size);
  config.d_mlp = keys.integer(prefix + "feed_forward_length");
  config.max_positions = keys.integer(prefix + "context_length");
  config.norm_eps = keys.number(prefix + "attention.layer_norm_rms_epsilon");
  config.rope = rope_from_gguf(keys, prefix, config.head_size);
  config.attention_scale = 1.0 / std::sqrt(config.head_size);
  refuse_foreign_gguf_keys(keys, prefix, config);
  config.bos_token = keys.token_or_none("tokenizer.ggml.bos_token_id");
  config.eos_token = keys.token_or_none("tokenizer.ggml.eos_token_id");
  config.vocab_size = keys.gguf_vocab_size(prefix + "vocab_size");
  return config;
}

TensorRef llama_gguf_tensor(int layer, const char* name) {
  return {.name = fmt::format("blk.{}.{}", layer, name)};
}

void add_gguf_qk_norms(ModelTensors& tensors) {
  int layer = 0;
  for (LayerTensors& one : tensors.layers) {
    one.q_norm = llama_gguf_tensor(layer, "attn_q_norm.weight");
    one.k_norm = llama_gguf_tensor(layer, "attn_k_norm.weight");
    ++layer;
  }
}

ModelTensors llama_tensors_of_gguf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors;
  tensors.embedding = {.name = "token_embd.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const auto named = [&](const char* name) { return llama_gguf_tensor(layer, name); };
    const auto maybe = [&](const char* name) { return optional_tensor(source, named(name)); };
    tensors.layers.push_back({
        .attn_norm = named("attn_norm.weight"),
        .q = named("attn_q.weight"),
        .k = named("attn_k.weight"),
        .v = named("attn_v.weight"),
        .q_bias = maybe("attn_q.bias"),
        .k_bias = maybe("attn_k.bias"),
        .v_bias = maybe("attn_v.bias"),
        .o = named("attn_output.weight"),
        .o_bias = maybe("attn_output.bias"),
        .mlp_norm = named("ffn_norm.weight"),
        .gate = named("ffn_gate.weight"),
        .up = named("ffn_up.weight"),
        .down = named("ffn_down.weight"),
        .gate_bias = maybe("ffn_gate.bias"),
        .up_bias = maybe("ffn_up.bias"),
        .down_bias = maybe("ffn_down.bias"),
    });
  }
  tensors.final_norm = {.name = "output_norm.weight"};
  tensors.unembedding = optional_tensor(source, {.name = "output.weight"});
  return tensors;
}

bool llama_is_ignored(std::string_view tensor_name) {
  return tensor_name.ends_with("rotary_emb.inv_freq");
}

std::string_view llama_transformers_path(std::string_view site) {
  static constexpr std::array<SitePath, 13> kPaths = {{
      {"resid_pre", "model.layers.{layer} (input)"},
      {"q", "model.layers.{layer}.self_attn.q_proj (output)"},
      {"k", "model.layers.{layer}.self_attn.k_proj (output)"},
      {"v", "model.layers.{layer}.self_attn.v_proj (output)"},
      {"pattern", "model.layers.{layer}.self_attn (attention weights)"},
      {"z", "model.layers.{layer}.self_attn.o_proj (input)"},
      {"attn_out", "model.layers.{layer}.self_attn (output)"},
      {"resid_mid", "model.layers.{layer}.post_attention_layernorm (input)"},
      {"mlp_in", "model.layers.{layer}.post_attention_layernorm (input)"},
      {"mlp_norm", "model.layers.{layer}.mlp (input)"},
      {"mlp_hidden", "model.layers.{layer}.mlp.down_proj (input)"},
      {"mlp_out", "model.layers.{layer}.mlp (output)"},
      {"resid_post", "model.layers.{layer} (output)"},
  }};
  return find_site_path(kPaths, site);
}

}  // namespace mechsweep
