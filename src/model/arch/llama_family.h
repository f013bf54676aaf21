#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "model/arch/architecture.h"
#include "model/model_config.h"
#include "model/tensor_source.h"

namespace mechsweep {

// What the descendants of Llama share: the keys and tensor names of their checkpoints. An
// architecture file takes these functions and changes what it does otherwise.

/// What transformers assumes where config.json lacks a key; it differs between families.
struct LlamaDefaults {
  int max_positions = 2048;
  double norm_eps = 1e-6;
  int n_kv_heads = 0;           ///< 0: as many as query heads
  int head_size = 0;            ///< 0: the model's width over its query heads
  bool partial_rotary = false;  ///< a part of a head may be rotated; else a share is refused
};

/// Everything that the families share, rotation included, without windows and biases. Throws
/// Error{input} naming the key.
ModelConfig llama_config_from_hf(const Json& json, const char* architecture,
                                 const LlamaDefaults& defaults);

/// `sliding_window`, the keys that a query sees: 0 (all) where it is null, `missing` where there is
/// no such key.
int llama_window_from_hf(const Json& json, int missing);
/// Gives every layer the same window. For configs that are complete otherwise: checks them, so that
/// no list is made for an absurd number of layers.
void set_llama_window(ModelConfig& config, int window);
/// By layer, whether `layer_types` gives it a window. Throws Error{input} when it is no list of as
/// many known types as there are layers.
std::vector<bool> sliding_layers(const Json& types, int n_layers);
/// The windows of single layers in Qwen: none unless `use_sliding_window`; then those of
/// `layer_types`, or all from layer `max_window_layers` on. Checks the config as above.
void set_qwen_windows(const Json& json, ModelConfig& config);

/// A tensor of one layer, "model.layers.LAYER.NAME".
TensorRef llama_hf_tensor(int layer, const char* name);
/// Biases are there where the config promises them.
ModelTensors llama_tensors_of_hf(const ModelConfig& config, const TensorSource& source);
/// The norms of queries and keys, `self_attn.q_norm` and `self_attn.k_norm`.
void add_llama_qk_norms(ModelTensors& tensors);

/// Keys with `name` in front, as in "llama.block_count"; it is the architecture's name, too.
/// Rotation of whole heads, unscaled or linearly scaled. Throws Error{input} naming the key.
ModelConfig llama_config_from_gguf(const Json& metadata, const char* name);
/// A tensor of one layer, "blk.LAYER.NAME".
TensorRef llama_gguf_tensor(int layer, const char* name);
/// Rows as Hugging Face has them. Biases are taken where the file has them.
ModelTensors llama_tensors_of_gguf(const ModelConfig& config, const TensorSource& source);

/// The norms of queries and keys, `attn_q_norm` and `attn_k_norm`.
void add_gguf_qk_norms(ModelTensors& tensors);

/// Rotary tables that older checkpoints carry. GGUF's rope_freqs are factors of the frequencies:
/// those change the numbers and are not ignored.
bool llama_is_ignored(std::string_view tensor_name);
std::string_view llama_transformers_path(std::string_view site);

}  // namespace mechsweep
