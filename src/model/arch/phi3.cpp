#include "model/arch/phi3.h"

#include <cstdint>
#include <string>

#include "core/error.h"
#include "model/arch/config_keys.h"
#include "model/arch/llama_family.h"

namespace mechsweep {

namespace {

/// The rotary settings as other families would write them.
Json with_common_rotary_keys(const Json& json) {
  Json common = json;
  // Only this place counts: settings of the rotation that repeat it are not read.
  if (!ConfigKeys(json).has("original_max_position_embeddings"))
    common["original_max_position_embeddings"] = 4096;
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!ConfigKeys(common).has(name) || !common.at(name).is_object()) continue;
    Json& map = common.at(name);
    const ConfigKeys keys(map);
    const std::string type = keys.text_or("rope_type", keys.text_or("type", "default"));
    // What the first releases called it.
    if (type == "su" || type == "yarn") {
      map["rope_type"] = "longrope";
    } else if (type != "default" && type != "longrope") {
      fail(ErrorKind::input,
           "'{}' asks for rotary scaling of type '{}', which this architecture does not have (it "
           "has: default, longrope)",
           name, type);
    }
  }
  return common;
}

ModelConfig config_from_hf(const Json& json) {
  ModelConfig config =
      llama_config_from_hf(with_common_rotary_keys(json), "phi3",
                           {.max_positions = 4096, .norm_eps = 1e-5, .partial_rotary = true});
  set_llama_window(config, llama_window_from_hf(json, 0));
  return config;
}

/// q, k and v are the rows of one matrix, gate and up those of another.
ModelTensors tensors_of_hf(const ModelConfig& config, const TensorSource& source) {
  ModelTensors tensors = llama_tensors_of_hf(config, source);
  const int64_t k_begin = int64_t{config.n_heads} * config.head_size;
  const int64_t v_begin = k_begin + int64_t{config.n_kv_heads} * config.head_size;
  const int64_t v_end = 2 * v_begin - k_begin;
  const int64_t hidden = config.d_mlp;
  for (int layer = 0; layer < config.n_layers; ++layer) {
    const auto rows = [&](const char* name, int64_t begin, int64_t end) {
      TensorRef ref = llama_hf_tensor(layer, name);
      ref.rows = {begin, end};
      return ref;
    };
    LayerTensors& one = tensors.layers[layer];
    one.q = rows("self_attn.qkv_proj.weight", 0, k_begin);
    one.k = rows("self_attn.qkv_proj.weight", k_begin, v_begin);
    one.v = rows("self_attn.qkv_proj.weight", v_begin, v_end);
    one.gate = rows("mlp.gate_up_proj.weight", 0, hidden);
    one.up = rows("mlp.gate_up_proj.weight", hidden, 2 * hidden);
  }
  return tensors;
}

std::string_view transformers_path(std::string_view site) {
  if (site == "q" || site == "k" || site == "v")
    return "model.layers.{layer}.self_attn.qkv_proj (output, in part)";
  return llama_transformers_path(site);
}

}  // namespace

const Architecture kPhi3 = {
    .name = "phi3",
    .summary = "Phi 3 and 4: as Llama, with joined projections, partial rotation and longrope",
    .hf_model_type = "phi3",
    .gguf_name = "",
    .config_from_hf = config_from_hf,
    .config_from_gguf = nullptr,
    .tensors_of_hf = tensors_of_hf,
    .tensors_of_gguf = nullptr,
    .is_ignored = llama_is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
