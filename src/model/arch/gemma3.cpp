#include "model/arch/gemma3.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/json_text.h"
#include "model/arch/config_keys.h"
#include "model/arch/gemma_family.h"
#include "model/arch/llama_family.h"
#include "model/arch/rope_keys.h"

namespace mechsweep {

namespace {

constexpr GemmaGeneration kGeneration = {
    .name = "gemma3",
    .vocab_size = 262'208,
    .max_positions = 131'072,
    .window_period = 6,
    .layers_of_27b = 62,
    .qk_norm = QkNormKind::per_head,
};

constexpr const char* kGlobal = "full_attention";
constexpr const char* kLocal = "sliding_attention";
constexpr double kGlobalTheta = 1'000'000.0;
constexpr double kLocalTheta = 10'000.0;

/// Layers with a window rotate by the local rope.
void mark_local_layers(ModelConfig& config) {
  for (LayerKind& kind : config.layer_kinds) kind.local_rope = kind.window > 0;
}

/// What 'rope_parameters' says about one type of layers: an empty map if nothing. A map that is
/// not by type is passed over by transformers, which computes with the defaults.
Json parameters_of(const Json& json, const char* layer_type) {
  if (!ConfigKeys(json).has("rope_parameters")) return Json::object();
  const Json& all = json.at("rope_parameters");
  const auto is_map = [](const Json& one) { return one.is_object() || one.is_null(); };
  if (!all.is_object() || !std::all_of(all.begin(), all.end(), is_map))
    fail(ErrorKind::input,
         "'rope_parameters' is {}, but this architecture wants a map of settings for each of {} "
         "and {}",
         show_json(all), kGlobal, kLocal);
  return ConfigKeys(all).has(layer_type) ? all.at(layer_type) : Json::object();
}

/// Older configs have a key for each base, and scale the global rope only.
Json global_parameters(const Json& json) {
  const ConfigKeys keys(json);
  Json parameters = parameters_of(json, kGlobal);
  if (keys.has("rope_scaling")) {
    const Json& scaling = json.at("rope_scaling");
    // transformers overlooks a type in any other spelling, and computes without scaling.
    if (!ConfigKeys(scaling).has("rope_type"))
      fail(ErrorKind::input, "'rope_scaling' is {}, without a 'rope_type' that says how to scale",
           show_json(scaling));
    parameters.update(scaling);
  }
  if (!ConfigKeys(parameters).has("rope_theta"))
    parameters["rope_theta"] = keys.number_or("rope_theta", kGlobalTheta);
  return parameters;
}

Json local_parameters(const Json& json) {
  Json parameters = parameters_of(json, kLocal);
  if (!ConfigKeys(parameters).has("rope_theta"))
    parameters["rope_theta"] = ConfigKeys(json).number_or("rope_local_base_freq", kLocalTheta);
  return parameters;
}

RopeConfig rope_of(const char* layer_type, Json parameters, int max_positions,
                   ModelConfig& config) {
  // Null counts as absent: transformers looks for this key beside the maps of the layer types.
  if (!ConfigKeys(parameters).has("truncate")) parameters.erase("truncate");
  Json alone = Json::object();
  alone["rope_parameters"][layer_type] = std::move(parameters);
  alone["max_position_embeddings"] = max_positions;
  RopeConfig rope = rope_from_hf(alone, config, layer_type);
  refuse_partial_gemma_rope(rope, config);
  return rope;
}

ModelConfig config_from_hf(const Json& json) {
  ModelConfig config = gemma_config_from_hf(kGeneration, json);
  // 'attn_logit_softcapping' may be there: it is Gemma 2's, and the reference has no use for it in
  // this generation.
  config.logit_cap = gemma_soft_cap(json, "final_logit_softcapping", 0.0);
  const int max_positions = config.max_positions;
  config.rope = rope_of(kGlobal, global_parameters(json), max_positions, config);
  config.local_rope = rope_of(kLocal, local_parameters(json), max_positions, config);
  set_gemma_windows(kGeneration, json, config);
  mark_local_layers(config);
  return config;
}

ModelConfig config_from_gguf(const Json& metadata) {
  const ConfigKeys keys(metadata);
  ModelConfig config = gemma_config_from_gguf(kGeneration, metadata);
  config.local_rope = {.theta = keys.number_or("gemma3.rope.freq_base_swa", kLocalTheta),
                       .dimensions = config.head_size};
  mark_local_layers(config);
  keys.require_unset_or("gemma3.attn_logit_softcapping", 0.0);
  const std::string cap = "gemma3.final_logit_softcapping";
  // Zero is llama.cpp's way to say that there is none.
  if (keys.number_or(cap, 0.0) != 0.0) config.logit_cap = gemma_soft_cap(metadata, cap, 0.0);
  return config;
}

std::string_view transformers_path(std::string_view site) {
  if (site == "q") return "model.layers.{layer}.self_attn.q_norm (output)";
  if (site == "k") return "model.layers.{layer}.self_attn.k_norm (output)";
  return gemma_transformers_path(site);
}

}  // namespace

const Architecture kGemma3 = {
    .name = "gemma3",
    .summary =
        "Gemma 3, text: norms before and after attention and MLP, norms of q and k, two rotary "
        "bases, windows in most layers",
    .hf_model_type = "gemma3_text",
    .gguf_name = "gemma3",
    .config_from_hf = config_from_hf,
    .config_from_gguf = config_from_gguf,
    .tensors_of_hf = gemma_tensors_of_hf,
    .tensors_of_gguf = gemma_tensors_of_gguf,
    .is_ignored = llama_is_ignored,
    .transformers_path = transformers_path,
};

}  // namespace mechsweep
