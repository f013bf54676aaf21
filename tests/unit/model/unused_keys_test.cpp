#include "model/unused_keys.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint_files.h"
#include "core/json.h"

// What is expected was read off transformers' modelling code: keys that its forward pass does not
// use, or not in such a config.

namespace mechsweep {
namespace {

namespace fs = std::filesystem;
using test_files::TempFolder;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

std::string golden(const std::string& name) {
  return std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/checkpoints/" + name;
}

std::vector<std::string> unused_in_golden(const std::string& name) {
  return unused_config_keys(open_checkpoint(golden(name)));
}

TEST(UnusedKeys, OfALlama) {
  EXPECT_THAT(unused_in_golden("llama-random"),
              ElementsAre("architectures", "attention_dropout", "initializer_range", "pad_token_id",
                          "pretraining_tp", "torch_dtype", "transformers_version", "use_cache"));
}

TEST(UnusedKeys, AWindowThatIsSwitchedOffCountsAsUnused) {
  const auto off = unused_in_golden("qwen2-tied");
  EXPECT_THAT(off, Contains("sliding_window"));
  EXPECT_THAT(off, Not(Contains("use_sliding_window")));
  EXPECT_THAT(unused_in_golden("qwen2-window"), Not(Contains("sliding_window")));
}

TEST(UnusedKeys, KeysInsideMapsAreNamedWithTheirMap) {
  const TempFolder folder;
  for (const auto& entry : fs::directory_iterator(golden("llama-rope-yarn")))
    fs::copy(entry.path(), folder.path());
  Json config = Json::parse(std::ifstream(folder.path() + "/config.json"));
  config["made_up"] = 3;
  config["rope_parameters"]["made_up"] = 5;
  folder.write("config.json", config.dump());
  const auto unused = unused_config_keys(open_checkpoint(folder.path()));
  EXPECT_THAT(unused, Contains("made_up"));
  EXPECT_THAT(unused, Contains("rope_parameters.made_up"));
  for (const char* used :
       {"rope_parameters", "rope_parameters.factor", "rope_parameters.rope_theta",
        "rope_parameters.original_max_position_embeddings", "hidden_size", "model_type",
        "tie_word_embeddings", "attention_bias"})
    EXPECT_THAT(unused, Not(Contains(used))) << used;
}

TEST(UnusedKeys, NoKeyThatDecidesALayerIsUnused) {
  std::ifstream file(std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/architectures/list.json");
  const Json list = Json::parse(file);
  for (const Json& one : list.at("checkpoints")) {
    const auto unused = unused_in_golden(one.at("name"));
    EXPECT_THAT(unused, Contains("transformers_version")) << one;
    for (const char* used :
         {"hidden_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads",
          "head_dim", "intermediate_size", "n_embd", "n_head", "n_layer", "n_positions", "ffn_dim",
          "rope_theta", "rotary_pct", "rotary_dim", "vocab_size", "rms_norm_eps",
          "query_pre_attn_scalar", "final_logit_softcapping", "use_parallel_residual"})
      EXPECT_THAT(unused, Not(Contains(used))) << one;
  }
}

TEST(UnusedTensors, AreThoseThatNoLayerReads) {
  EXPECT_THAT(unused_tensors(open_checkpoint(golden("llama-random"))), IsEmpty());
}

}  // namespace
}  // namespace mechsweep
