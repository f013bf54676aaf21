#include "model/arch/qwen2.h"

#include "model/arch/llama_family.h"

namespace mechsweep {

namespace {

ModelConfig config_from_hf(const Json& json) {
  ModelConfig config =
      llama_config_from_hf(json, "qwen2", {.max_positions = 32'768, .n_kv_heads = 32});
  config.attention_biases = true;
  set_qwen_windows(json, config);
  return config;
}

ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_hf(config, source);
  for (LayerTensors& layer : tensors.layers) layer.o_bias = {};
  return tensors;
}

ModelConfig config_from_gguf(const Json& metadata) {
  ModelConfig config = llama_config_from_gguf(metadata, "qwen2");
  config.attention_biases = true;
  return config;
}

ModelTensors tensors_of_gguf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_gguf(config, source);
  for (int layer = 0; layer < config.n_layers; ++layer) {
    LayerTensors& one = tensors.layers[layer];
    one.q_bias = llama_gguf_tensor(layer, "attn_q.bias");
    one.k_bias = llama_gguf_tensor(layer, "attn_k.bias");
    one.v_bias = llama_gguf_tensor(layer, "attn_v.bias");
  }
  return tensors;
}

}  // namespace

const Architecture kQwen2 = {
    .name = "qwen2",
    .summary = "Qwen 2 and 2.5: as Llama, with biases of queries, keys and values",
    .hf_model_type = "qwen2",
    .gguf_name = "qwen2",
    .config_from_hf = config_from_hf,
    .config_from_gguf = config_from_gguf,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = tensors_of_gguf,
    .is_ignored = llama_is_ignored,
    .transformers_path = llama_transformers_path,
};

}  // namespace mechsweep
