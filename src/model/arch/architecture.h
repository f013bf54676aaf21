#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/group.h"
#include "core/json.h"
#include "model/model_config.h"
#include "model/tensor_source.h"

namespace mechsweep {

/// Where one of our tensors comes from in a checkpoint: a whole tensor or a range of its rows, as
/// [out, in] or as a vector. An empty name means that the model has no such tensor.
struct TensorRef {
  std::string name;
  bool transposed = false;    ///< stored [in, out], as GPT-2's Conv1D does
  Range rows;                 ///< rows after transposition; {0, 0}: all of them
  int interleaved_heads = 0;  ///< > 0: within each of these heads the rows are stored in pairs
                              ///< (0, E/2, 1, E/2+1, ...) for interleaved rotation; undone on load

  [[nodiscard]] bool present() const { return !name.empty(); }
};

struct LayerTensors {
  TensorRef attn_norm, attn_norm_bias;
  TensorRef q, k, v, q_bias, k_bias, v_bias;
  TensorRef o, o_bias;
  TensorRef mlp_norm, mlp_norm_bias;
  TensorRef gate, up, down;  ///< gate only where ModelConfig::gated_mlp
  TensorRef gate_bias, up_bias, down_bias;
};

struct ModelTensors {
  TensorRef embedding, positions;  ///< positions only where they are learned
  std::vector<LayerTensors> layers;
  TensorRef final_norm, final_norm_bias;
  TensorRef unembedding;  ///< absent where embeddings are tied
};

/// One architecture: how its checkpoints say what ModelConfig and the layers need. Functions throw
/// Error{input} naming the key when a config is incomplete, or asks for something that is not
/// implemented (never silently left out).
struct Architecture {
  std::string_view name;
  std::string_view summary;
  std::string_view hf_model_type;  ///< `model_type` in config.json
  std::string_view gguf_name;      ///< `general.architecture`, empty: no GGUF support

  ModelConfig (*config_from_hf)(const Json& config);
  ModelConfig (*config_from_gguf)(const Json& metadata);
  ModelTensors (*tensors_of_hf)(const ModelConfig& config, const TensorSource& source);
  ModelTensors (*tensors_of_gguf)(const ModelConfig& config, const TensorSource& source);
  /// Tensors that published checkpoints carry and that hold no weights (masks, rotary tables).
  bool (*is_ignored)(std::string_view tensor_name);
  /// Path of a site's module in transformers, "{layer}" standing for the layer's number.
  std::string_view (*transformers_path)(std::string_view site);
};

/// Every architecture there is; the only list.
std::span<const Architecture> architecture_table();

}  // namespace mechsweep
