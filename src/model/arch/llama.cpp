#include "model/arch/llama.h"

#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "model/arch/config_keys.h"

namespace mechsweep {

namespace {

/// Rotary settings stand in `rope_theta` and `rope_scaling` (older files) or in `rope_parameters`.
double rope_theta_of(const Json& config) {
  const ConfigKeys keys(config);
  double theta = keys.number_or("rope_theta", 10000.0);
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!keys.has(name)) continue;
    if (!config.at(name).is_object())
      fail(ErrorKind::input, "'{}' is {}, not a map of settings", name, config.at(name).dump());
    const ConfigKeys rope(config.at(name));
    rope.require_unset_or("partial_rotary_factor", 1.0);
    const std::string type = rope.text_or("rope_type", rope.text_or("type", "default"));
    if (type != "default")
      fail(ErrorKind::input,
           "'{}' asks for rotary scaling of type '{}', which this version cannot compute", name,
           type);
    theta = rope.number_or("rope_theta", theta);
  }
  return theta;
}

ModelConfig config_from_hf(const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config;
  config.architecture = "llama";
  config.n_layers = keys.integer("num_hidden_layers");
  config.n_heads = keys.integer("num_attention_heads");
  config.n_kv_heads = keys.integer_or("num_key_value_heads", config.n_heads);
  config.d_model = keys.integer("hidden_size");
  config.head_size =
      keys.integer_or("head_dim", config.n_heads > 0 ? config.d_model / config.n_heads : 0);
  config.d_mlp = keys.integer("intermediate_size");
  config.vocab_size = keys.integer("vocab_size");
  config.max_positions = keys.integer_or("max_position_embeddings", 2048);
  config.norm_eps = keys.number_or("rms_norm_eps", 1e-6);
  keys.require_unset_or("hidden_act", "silu");
  config.rope = {.theta = rope_theta_of(json), .dimensions = config.head_size};
  config.attention_scale = 1.0 / std::sqrt(config.head_size);
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", false);
  config.attention_biases = keys.flag_or("attention_bias", false);
  config.mlp_biases = keys.flag_or("mlp_bias", false);
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  return config;
}

ModelConfig config_from_gguf(const Json& metadata) {
  const ConfigKeys keys(metadata);
  ModelConfig config;
  config.architecture = "llama";
  config.n_layers = keys.integer("llama.block_count");
  config.n_heads = keys.integer("llama.attention.head_count");
  config.n_kv_heads = keys.integer_or("llama.attention.head_count_kv", config.n_heads);
  config.d_model = keys.integer("llama.embedding_length");
  config.head_size = keys.integer_or("llama.attention.key_length",
                                     config.n_heads > 0 ? config.d_model / config.n_heads : 0);
  keys.require_unset_or("llama.attention.value_length", config.head_size);
  config.d_mlp = keys.integer("llama.feed_forward_length");
  config.max_positions = keys.integer("llama.context_length");
  config.norm_eps = keys.number("llama.attention.layer_norm_rms_epsilon");
  keys.require_unset_or("llama.rope.scaling.type", "none");
  config.rope = {.theta = keys.number_or("llama.rope.freq_base", 10000.0),
                 .dimensions = config.head_size};
  // Rows are stored in pairs for interleaved rotation of whole heads; a part would need others.
  keys.require_unset_or("llama.rope.dimension_count", config.head_size);
  config.attention_scale = 1.0 / std::sqrt(config.head_size);
  config.bos_token = keys.token_or_none("tokenizer.ggml.bos_token_id");
  config.eos_token = keys.token_or_none("tokenizer.ggml.eos_token_id");
  if (keys.has("llama.vocab_size")) {
    config.vocab_size = keys.integer("llama.vocab_size");
  } else if (keys.has("tokenizer.ggml.tokens")) {
    config.vocab_size = static_cast<int>(metadata.at("tokenizer.ggml.tokens").size());
  } else {
    fail(ErrorKind::input, "neither 'llama.vocab_size' nor 'tokenizer.ggml.tokens' is there");
  }
  return config;
}

TensorRef optional_tensor(const TensorSource& source, const std::string& name) {
  return {.name = source.find(name) != nullptr ? name : ""};
}

ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& /*source*/) {
  ModelTensors tensors;
  tensors.embedding = {.name = "model.embed_tokens.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const auto named = [&](const char* name) { return TensorRef{.name = prefix + name}; };
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

ModelTensors tensors_of_gguf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors;
  tensors.embedding = {.name = "token_embd.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = fmt::format("blk.{}.", layer);
    const auto named = [&](const char* name) { return TensorRef{.name = prefix + name}; };
    const auto rotary = [&](const char* name, int heads) {
      return TensorRef{.name = prefix + name, .interleaved_heads = heads};
    };
    const auto maybe = [&](const char* name) { return optional_tensor(source, prefix + name); };
    LayerTensors one{
        .attn_norm = named("attn_norm.weight"),
        .q = rotary("attn_q.weight", config.n_heads),
        .k = rotary("attn_k.weight", config.n_kv_heads),
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
    };
    one.q_bias.interleaved_heads = config.n_heads;
    one.k_bias.interleaved_heads = config.n_kv_heads;
    tensors.layers.push_back(std::move(one));
  }
  tensors.final_norm = {.name = "output_norm.weight"};
  tensors.unembedding = optional_tensor(source, "output.weight");
  return tensors;
}

/// Rotary tables that older checkpoints carry. GGUF's rope_freqs are scaled frequencies: those
/// change the numbers and are not ignored.
bool is_ignored(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq");
}

std::string_view transformers_path(std::string_view site) {
  if (site == "resid_pre") return "model.layers.{layer} (input)";
  if (site == "resid_mid") return "model.layers.{layer}.post_attention_layernorm (input)";
  if (site == "resid_post") return "model.layers.{layer} (output)";
  if (site == "z") return "model.layers.{layer}.self_attn.o_proj (input)";
  if (site == "attn_out") return "model.layers.{layer}.self_attn (output)";
  if (site == "mlp_out") return "model.layers.{layer}.mlp (output)";
  if (site == "pattern") return "model.layers.{layer}.self_attn (attention weights)";
  return "";
}

}  // namespace

const Architecture kLlama = {
    .name = "llama",
    .summary =
        "Llama 1 to 3 and SmolLM: rotary positions, RMS norm, gated SiLU MLP, grouped queries",
    .hf_model_type = "llama",
    .gguf_name = "llama",
    .config_from_hf = config_from_hf,
    .config_from_gguf = config_from_gguf,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = tensors_of_gguf,
    .is_ignored = is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
