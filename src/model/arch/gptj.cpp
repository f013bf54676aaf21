#include "model/arch/gptj.h"

#include <array>

#include <fmt/format.h>

#include "core/error.h"
#include "model/arch/gpt_family.h"

namespace mechsweep {

namespace {

ModelConfig config_from_hf(const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config = gpt_config(keys, "gptj", {"n_layer", "n_head", "n_embd"});
  config.d_mlp = gpt_mlp_width(keys, "n_inner", config);
  config.vocab_size = keys.integer("vocab_size");
  config.max_positions = keys.integer_or("n_positions", 2048);
  config.norm_eps = keys.number_or("layer_norm_epsilon", 1e-5);
  config.activation = gpt_activation(keys, "activation_function", "gelu_new");
  // Absent it is 64; with null the reference makes a table as wide as the model.
  if (json.contains("rotary_dim") && !keys.has("rotary_dim"))
    fail(ErrorKind::input,
         "'rotary_dim' is null; write how many dimensions of a head are rotated (at most {})",
         config.head_size);
  // The base is no setting of this architecture.
  config.rope = {
      .theta = 10000.0, .dimensions = keys.integer_or("rotary_dim", 64), .interleaved = true};
  config.parallel_residual = true;
  config.tied_embeddings = keys.flag_or("tie_word_embeddings", false);
  config.mlp_biases = true;
  config.bos_token = keys.token_or_none("bos_token_id");
  config.eos_token = keys.token_or_none("eos_token_id");
  return config;
}

ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  // Checkpoints of the bare model have no "transformer." in front of their names.
  const std::string root = source.find("transformer.wte.weight") != nullptr ? "transformer." : "";
  ModelTensors tensors;
  tensors.embedding = {.name = root + "wte.weight"};
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const std::string prefix = fmt::format("{}h.{}.", root, layer);
    const auto named = [&](const char* name) { return TensorRef{.name = prefix + name}; };
    // Attention and MLP read through one norm.
    tensors.layers.push_back({
        .attn_norm = named("ln_1.weight"),
        .attn_norm_bias = named("ln_1.bias"),
        .q = named("attn.q_proj.weight"),
        .k = named("attn.k_proj.weight"),
        .v = named("attn.v_proj.weight"),
        .o = named("attn.out_proj.weight"),
        .mlp_norm = named("ln_1.weight"),
        .mlp_norm_bias = named("ln_1.bias"),
        .up = named("mlp.fc_in.weight"),
        .down = named("mlp.fc_out.weight"),
        .up_bias = named("mlp.fc_in.bias"),
        .down_bias = named("mlp.fc_out.bias"),
    });
  }
  tensors.final_norm = {.name = root + "ln_f.weight"};
  tensors.final_norm_bias = {.name = root + "ln_f.bias"};
  if (!config.tied_embeddings) tensors.unembedding = {.name = "lm_head.weight"};
  tensors.unembedding_bias = {.name = "lm_head.bias"};
  return tensors;
}

/// Causal masks and their fill value, stored as buffers by older versions.
bool is_ignored(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

/// No module's input is the MLP's alone before the norm, and there is no stream between attention
/// and MLP.
std::string_view transformers_path(std::string_view site) {
  static constexpr std::array<SitePath, 11> kPaths = {{
      {"resid_pre", "transformer.h.{layer} (input)"},
      {"q", "transformer.h.{layer}.attn.q_proj (output)"},
      {"k", "transformer.h.{layer}.attn.k_proj (output)"},
      {"v", "transformer.h.{layer}.attn.v_proj (output)"},
      {"pattern", "transformer.h.{layer}.attn (attention weights)"},
      {"z", "transformer.h.{layer}.attn.out_proj (input)"},
      {"attn_out", "transformer.h.{layer}.attn (output)"},
      {"mlp_norm", "transformer.h.{layer}.mlp (input)"},
      {"mlp_hidden", "transformer.h.{layer}.mlp.fc_out (input)"},
      {"mlp_out", "transformer.h.{layer}.mlp (output)"},
      {"resid_post", "transformer.h.{layer} (output)"},
  }};
  return find_site_path(kPaths, site);
}

}  // namespace

const Architecture kGptj = {
    .name = "gptj",
    .summary = "GPT-J: neighbouring dimensions rotated, one layer norm for attention and MLP",
    .hf_model_type = "gptj",
    .gguf_name = "",
    .config_from_hf = config_from_hf,
    .config_from_gguf = nullptr,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = nullptr,
    .is_ignored = is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
