#include "model/arch/olmo2.h"

#include "model/arch/config_keys.h"
#include "model/arch/llama_family.h"

namespace mechsweep {

namespace {

ModelConfig config_from_hf(const Json& json) {
  ModelConfig config = llama_config_from_hf(json, "olmo2", {.norm_eps = 1e-5});
  config.qk_norm = QkNormKind::all_heads;
  config.attention_biases = ConfigKeys(json).flag_or("attention_bias", false);
  return config;
}

/// The norms are those of what attention and the MLP add, not of what they read.
ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_hf(config, source);
  add_llama_qk_norms(tensors);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    LayerTensors& one = tensors.layers[layer];
    one.attn_norm = one.mlp_norm = {};
    one.attn_post_norm = llama_hf_tensor(layer, "post_attention_layernorm.weight");
    one.mlp_post_norm = llama_hf_tensor(layer, "post_feedforward_layernorm.weight");
  }
  return tensors;
}

std::string_view transformers_path(std::string_view site) {
  if (site == "q") return "model.layers.{layer}.self_attn.q_norm (output)";
  if (site == "k") return "model.layers.{layer}.self_attn.k_norm (output)";
  if (site == "attn_out") return "model.layers.{layer}.post_attention_layernorm (output)";
  if (site == "resid_mid" || site == "mlp_in") return "model.layers.{layer}.mlp (input)";
  if (site == "mlp_out") return "model.layers.{layer}.post_feedforward_layernorm (output)";
  return llama_transformers_path(site);
}

}  // namespace

const Architecture kOlmo2 = {
    .name = "olmo2",
    .summary = "OLMo 2: norms after attention and MLP instead of before, and of queries and keys",
    .hf_model_type = "olmo2",
    .gguf_name = "",
    .config_from_hf = config_from_hf,
    .config_from_gguf = nullptr,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = nullptr,
    .is_ignored = llama_is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
