#include "model/arch/qwen3.h"

#include "model/arch/config_keys.h"
#include "model/arch/llama_family.h"

namespace mechsweep {

namespace {

ModelConfig config_from_hf(const Json& json) {
  ModelConfig config = llama_config_from_hf(
      json, "qwen3", {.max_positions = 32'768, .n_kv_heads = 32, .head_size = 128});
  config.qk_norm = QkNormKind::per_head;
  config.attention_biases = ConfigKeys(json).flag_or("attention_bias", false);
  set_qwen_windows(json, config);
  return config;
}

ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_hf(config, source);
  add_llama_qk_norms(tensors);
  return tensors;
}

ModelConfig config_from_gguf(const Json& metadata) {
  ModelConfig config = llama_config_from_gguf(metadata, "qwen3");
  config.qk_norm = QkNormKind::per_head;
  return config;
}

ModelTensors tensors_of_gguf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_gguf(config, source);
  add_gguf_qk_norms(tensors);
  return tensors;
}

std::string_view transformers_path(std::string_view site) {
  if (site == "q") return "model.layers.{layer}.self_attn.q_norm (output)";
  if (site == "k") return "model.layers.{layer}.self_attn.k_norm (output)";
  return llama_transformers_path(site);
}

}  // namespace

const Architecture kQwen3 = {
    .name = "qwen3",
    .summary = "Qwen 3: as Llama, with norms of each head's queries and keys",
    .hf_model_type = "qwen3",
    .gguf_name = "qwen3",
    .config_from_hf = config_from_hf,
    .config_from_gguf = config_from_gguf,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = tensors_of_gguf,
    .is_ignored = llama_is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
