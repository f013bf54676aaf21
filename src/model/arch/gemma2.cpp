#include "model/arch/gemma2.h"

#include "model/arch/config_keys.h"
#include "model/arch/gemma_family.h"
#include "model/arch/llama_family.h"
#include "model/arch/rope_keys.h"

namespace mechsweep {

namespace {

constexpr GemmaGeneration kGeneration = {
    .name = "gemma2",
    .vocab_size = 256'000,
    .max_positions = 8192,
    .window_period = 2,
    .window_of_gguf = 4096,
    .theta_of_gguf = 10'000.0,
    .layers_of_27b = 46,
};

/// Unlike in Gemma 3, a config that does not mention the caps has them.
constexpr double kScoreCap = 50.0;
constexpr double kLogitCap = 30.0;

ModelConfig config_from_hf(const Json& json) {
  // The reference has no such key in this generation: whoever sets it wants another model.
  ConfigKeys(json).require_unset_or("sliding_window_pattern", kGeneration.window_period);
  ModelConfig config = gemma_config_from_hf(kGeneration, json);
  config.score_cap = gemma_soft_cap(json, "attn_logit_softcapping", kScoreCap);
  config.logit_cap = gemma_soft_cap(json, "final_logit_softcapping", kLogitCap);
  config.rope = rope_from_hf(json, config);
  refuse_partial_gemma_rope(config.rope, config);
  set_gemma_windows(kGeneration, json, config);
  return config;
}

ModelConfig config_from_gguf(const Json& metadata) {
  ModelConfig config = gemma_config_from_gguf(kGeneration, metadata);
  ConfigKeys(metadata).require_unset_or("gemma2.rope.freq_base_swa", config.rope.theta);
  config.score_cap = gemma_soft_cap(metadata, "gemma2.attn_logit_softcapping", kScoreCap);
  config.logit_cap = gemma_soft_cap(metadata, "gemma2.final_logit_softcapping", kLogitCap);
  return config;
}

}  // namespace

const Architecture kGemma2 = {
    .name = "gemma2",
    .summary =
        "Gemma 2: norms before and after attention and MLP, soft caps, windows in every other "
        "layer",
    .hf_model_type = "gemma2",
    .gguf_name = "gemma2",
    .config_from_hf = config_from_hf,
    .config_from_gguf = config_from_gguf,
    .tensors_of_hf = gemma_tensors_of_hf,
    .tensors_of_gguf = gemma_tensors_of_gguf,
    .is_ignored = llama_is_ignored,
    .transformers_path = gemma_transformers_path,
};

}  // namespace mechsweep
