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

/// `count` pieces of `size` rows, the first at `offset`, the others `stride` apart: one of the
/// three where q, k and v of a head lie together.
struct RowPieces {
  int64_t count = 0;
  int64_t offset = 0;
  int64_t size = 0;
  int64_t stride = 0;
};

/// Where one of our tensors comes from in a checkpoint: a whole tensor or some of its rows, as
/// [out, in] or as a vector. An empty name means that the model has no such tensor.
struct TensorRef {
  std::string name;
  bool transposed = false;    ///< stored [in, out], as GPT-2's Conv1D does
  Range rows;                 ///< rows after transposition; {0, 0}: all of them
  RowPieces pieces;           ///< count > 0: these rows, and `rows` is not used
  bool add_one = false;       ///< norms that are stored as their difference from 1
  int interleaved_heads = 0;  ///< > 0: within each of these heads the rows are stored in pairs
                              ///< (0, E/2, 1, E/2+1, ...) for interleaved rotation; undone on load

  [[nodiscard]] bool present() const { return !name.empty(); }
};

struct LayerTensors {
  TensorRef attn_norm, attn_norm_bias;  ///< absent: the projections read the stream as it is
  TensorRef q, k, v, q_bias, k_bias, v_bias;
  TensorRef q_norm, k_norm;  ///< only where ModelConfig::qk_norm
  TensorRef o, o_bias;
  TensorRef attn_post_norm;           ///< of what attention adds to the stream
  TensorRef mlp_norm, mlp_norm_bias;  ///< absent: the MLP reads the stream as it is
  TensorRef gate, up, down;           ///< gate only where ModelConfig::gated_mlp
  TensorRef gate_bias, up_bias, down_bias;
  TensorRef mlp_post_norm;  ///< of what the MLP adds to the stream
};

struct ModelTensors {
  TensorRef embedding, positions;  ///< positions only where they are learned
  std::vector<LayerTensors> layers;
  TensorRef final_norm, final_norm_bias;
  TensorRef unembedding;  ///< absent where it is the embedding
  TensorRef unembedding_bias;
  TensorRef rope_factors;  ///< [dimensions / 2]: what rotary frequencies are divided by
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
