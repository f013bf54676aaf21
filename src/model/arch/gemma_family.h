#pragma once

#include <string>
#include <string_view>

#include "core/json.h"
#include "model/arch/architecture.h"
#include "model/model_config.h"
#include "model/tensor_source.h"

namespace mechsweep {

// What Gemma 2 and Gemma 3 share. Names of tensors are Llama's but for two more norms in a layer.

/// What differs between the generations and cannot be read from a checkpoint.
struct GemmaGeneration {
  const char* name = "";     ///< in the architecture table, and in front of GGUF keys
  int vocab_size = 0;        ///< where config.json leaves it out, as in transformers
  int max_positions = 0;     ///< the same
  int window_period = 0;     ///< every so many layers one has no window, unless the config differs
  int window_of_gguf = 0;    ///< where a GGUF file names none; 0: no windows then
  double theta_of_gguf = 0;  ///< rotary base where a GGUF file names none; 0: it has to
  int layers_of_27b = 0;     ///< of the model whose queries are scaled by another rule
  QkNormKind qk_norm = QkNormKind::none;
};

/// What the generations have alike in config.json: not ropes, windows and soft caps. Keys that
/// published configs leave out have transformers' defaults. Throws Error{input} naming the key.
ModelConfig gemma_config_from_hf(const GemmaGeneration& generation, const Json& json);
/// The windows of the layers: those of `layer_types`, or all but every `window_period`th. For
/// configs that are complete otherwise: checks them, so that no list is made for an absurd number
/// of layers.
void set_gemma_windows(const GemmaGeneration& generation, const Json& json, ModelConfig& config);

/// The same from GGUF metadata, with the global rope and the windows. GGUF has no key for the
/// scale of the queries: the format's convention gives it, and sizes outside that are refused.
ModelConfig gemma_config_from_gguf(const GemmaGeneration& generation, const Json& metadata);

/// A soft cap: 0 (none) where the key is null, `missing` where there is no such key.
double gemma_soft_cap(const Json& json, const std::string& key, double missing);
/// Gemma rotates whole heads; throws Error{input} where a config asks for a share of them.
void refuse_partial_gemma_rope(const RopeConfig& rope, const ModelConfig& config);

ModelTensors gemma_tensors_of_hf(const ModelConfig& config, const TensorSource& source);
ModelTensors gemma_tensors_of_gguf(const ModelConfig& config, const TensorSource& source);
/// Of a model without norms of q and k.
std::string_view gemma_transformers_path(std::string_view site);

}  // namespace mechsweep
