#include "model/arch/llama.h"

#include "model/arch/config_keys.h"
#include "model/arch/llama_family.h"

namespace mechsweep {

namespace {

ModelConfig config_from_hf(const Json& json) {
  const ConfigKeys keys(json);
  ModelConfig config = llama_config_from_hf(json, "llama", {});
  config.attention_biases = keys.flag_or("attention_bias", false);
  config.mlp_biases = keys.flag_or("mlp_bias", false);
  return config;
}

ModelConfig config_from_gguf(const Json& metadata) {
  return llama_config_from_gguf(metadata, "llama");
}

/// The only family whose queries and keys are stored in pairs, for interleaved rotation, and that
/// may have factors of the frequencies.
ModelTensors tensors_of_gguf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_gguf(config, source);
  for (LayerTensors& layer : tensors.layers) {
    layer.q.interleaved_heads = layer.q_bias.interleaved_heads = config.n_heads;
    layer.k.interleaved_heads = layer.k_bias.interleaved_heads = config.n_kv_heads;
  }
  // Scaling of type llama3 as a tensor: the keys of the file do not say it.
  constexpr const char* kFactors = "rope_freqs.weight";
  if (source.find(kFactors) != nullptr) tensors.rope_factors = {.name = kFactors};
  return tensors;
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
    .tensors_of_hf = llama_tensors_of_hf,
    .tensors_of_gguf = tensors_of_gguf,
    .is_ignored = llama_is_ignored,
    .transformers_path = llama_transformers_path,
};

}  // namespace mechsweep
