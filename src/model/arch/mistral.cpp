#include "model/arch/mistral.h"

#include "core/error.h"
#include "model/arch/config_keys.h"
#include "model/arch/llama_family.h"

namespace mechsweep {

namespace {

ModelConfig config_from_hf(const Json& json) {
  // transformers takes such a folder for a Ministral, whose layers differ in their windows.
  if (json.contains("layer_types"))
    fail(ErrorKind::input,
         "'layer_types' makes this a Ministral, which this version cannot compute");
  ModelConfig config =
      llama_config_from_hf(json, "mistral", {.max_positions = 131'072, .n_kv_heads = 8});
  set_llama_window(config, llama_window_from_hf(json, 4096));
  return config;
}

}  // namespace

// Its GGUF files call themselves llama.
const Architecture kMistral = {
    .name = "mistral",
    .summary = "Mistral: as Llama, with a sliding window in every layer of the first version",
    .hf_model_type = "mistral",
    .gguf_name = "",
    .config_from_hf = config_from_hf,
    .config_from_gguf = nullptr,
    .tensors_of_hf = llama_tensors_of_hf,
    .tensors_of_gguf = nullptr,
    .is_ignored = llama_is_ignored,
    .transformers_path = llama_transformers_path,
};

}  // namespace mechsweep
