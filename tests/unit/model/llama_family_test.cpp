#include "model/arch/llama_family.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "architecture_files.h"
#include "checkpoint_files.h"
#include "core/json.h"

// How the families with Llama's tensor names read their configs, where transformers' defaults and
// switches decide.

namespace mechsweep {
namespace {

using namespace test_files;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelConfig read(const Json& json) {
  return architecture(json.at("model_type")).config_from_hf(json);
}

TEST(LlamaFamily, MistralHasAWindowUnlessItIsNull) {
  EXPECT_THAT(windows(read(patched("mistral-window"))), ElementsAre(5, 5));
  EXPECT_THAT(windows(read(patched("mistral-full"))), ElementsAre(0, 0, 0));
  const Json absent = patched("mistral-window", {{"sliding_window", nullptr}});
  ASSERT_FALSE(absent.contains("sliding_window"));
  EXPECT_THAT(windows(read(absent)), ElementsAre(4096, 4096));
}

TEST(LlamaFamily, QwenHasWindowsOnlyWhereItIsToldTo) {
  EXPECT_THAT(windows(read(patched("qwen2-tied"))), ElementsAre(0, 0));
  EXPECT_THAT(windows(read(patched("qwen2-window"))), ElementsAre(0, 6, 6));
  EXPECT_THAT(windows(read(patched("qwen2-layer-types"))), ElementsAre(4, 0, 4));
  EXPECT_THAT(windows(read(patched("qwen3-norms"))), ElementsAre(0, 0));
  EXPECT_THAT(windows(read(patched("qwen3-window"))), ElementsAre(5, 0, 5));
  const Json late = patched("qwen2-window", {{"max_window_layers", nullptr}});
  EXPECT_THAT(windows(read(late)), ElementsAre(0, 0, 0));
}

TEST(LlamaFamily, Phi3HasAWindowOnlyWhereItIsGiven) {
  EXPECT_THAT(windows(read(patched("phi3-window"))), ElementsAre(6, 6));
  EXPECT_THAT(windows(read(patched("phi3-longrope"))), ElementsAre(0, 0, 0));
  const Json absent = patched("phi3-window", {{"sliding_window", nullptr}});
  EXPECT_THAT(windows(read(absent)), ElementsAre(0, 0));
}

TEST(LlamaFamily, MissingKeysHaveTheDefaultsOfTheFamily) {
  const Json none = {{"head_dim", nullptr},
                     {"num_key_value_heads", nullptr},
                     {"max_position_embeddings", nullptr},
                     {"rms_norm_eps", nullptr},
                     {"num_attention_heads", 32},
                     {"hidden_size", 64}};
  const auto expect = [&](const char* name, int kv_heads, int head_size, int positions,
                          double epsilon) {
    const ModelConfig config = read(patched(name, none));
    EXPECT_EQ(config.n_kv_heads, kv_heads) << name;
    EXPECT_EQ(config.head_size, head_size) << name;
    EXPECT_EQ(config.max_positions, positions) << name;
    EXPECT_EQ(config.norm_eps, epsilon) << name;
  };
  expect("llama-random", 32, 2, 2048, 1e-6);
  expect("mistral-window", 8, 2, 131'072, 1e-6);
  expect("qwen2-window", 32, 2, 32'768, 1e-6);
  expect("qwen3-norms", 32, 128, 32'768, 1e-6);
  expect("olmo2-norms", 32, 2, 2048, 1e-5);
}

TEST(LlamaFamily, KeyHeadsThatAreNullAreAsManyAsQueryHeads) {
  Json json = patched("mistral-window");
  json["num_key_value_heads"] = nullptr;
  EXPECT_EQ(read(json).n_kv_heads, 4);
}

TEST(LlamaFamily, Phi3KnowsTheFirstNamesOfItsScaling) {
  for (const char* type : {"su", "yarn", "longrope"}) {
    const Json json = patched("phi3-longrope", {{"rope_scaling", {{"type", type}}}});
    EXPECT_EQ(read(json).rope.scaling, RopeScaling::longrope) << type;
  }
  const ModelConfig config =
      read(patched("phi3-longrope", {{"original_max_position_embeddings", nullptr}}));
  EXPECT_EQ(config.rope.original_positions, 4096);
  EXPECT_EQ(config.max_positions, 64);
}

/// Every tensor that the layers want, and every one that the file has.
void expect_same_names(const std::string& name) {
  const Architecture& family = architecture(patched(name).at("model_type"));
  const ModelConfig config = read(patched(name));
  const auto source = open_safetensors(golden(name));
  const ModelTensors tensors = family.tensors_of_hf(config, *source);
  std::set<std::string> wanted, stored;
  const auto want = [&](const TensorRef& ref) {
    if (ref.present()) wanted.insert(ref.name);
  };
  want(tensors.embedding);
  want(tensors.final_norm);
  want(tensors.unembedding);
  for (const LayerTensors& one : tensors.layers)
    for (const TensorRef& ref : {one.attn_norm, one.q,       one.k,         one.v,
                                 one.q_bias,    one.k_bias,  one.v_bias,    one.q_norm,
                                 one.k_norm,    one.o,       one.o_bias,    one.attn_post_norm,
                                 one.mlp_norm,  one.gate,    one.up,        one.down,
                                 one.gate_bias, one.up_bias, one.down_bias, one.mlp_post_norm})
      want(ref);
  for (const TensorInfo& info : source->tensors()) stored.insert(info.name);
  EXPECT_EQ(wanted, stored) << name;
}

TEST(LlamaFamily, TensorsHaveTheNamesOfTheFiles) {
  for (const char* name :
       {"llama-random", "llama-random-sharded", "llama-rope-yarn-mscale", "mistral-window",
        "mistral-full", "qwen2-tied", "qwen2-window", "qwen3-norms", "qwen3-window", "olmo2-norms",
        "olmo2-grouped", "phi3-window", "phi3-longrope"})
    expect_same_names(name);
}

TEST(LlamaFamily, Phi3TakesItsMatricesByRows) {
  const ModelConfig config = read(patched("phi3-window"));
  const auto source = open_safetensors(golden("phi3-window"));
  const ModelTensors tensors = architecture("phi3").tensors_of_hf(config, *source);
  // Four query and two key/value heads of 8, 26 hidden numbers.
  const LayerTensors& layer = tensors.layers.at(1);
  EXPECT_EQ(layer.q.rows, (Range{0, 32}));
  EXPECT_EQ(layer.k.rows, (Range{32, 48}));
  EXPECT_EQ(layer.v.rows, (Range{48, 64}));
  EXPECT_EQ(layer.gate.rows, (Range{0, 26}));
  EXPECT_EQ(layer.up.rows, (Range{26, 52}));
  EXPECT_EQ(source->require(layer.v.name).rows(), 64);
  EXPECT_EQ(source->require(layer.up.name).rows(), 52);
}

struct BadConfig {
  const char* name;
  const char* golden;
  Json patch;
  const char* part;
};

void PrintTo(const BadConfig& one, std::ostream* out) {
  *out << one.name;
}

class LlamaFamilyRefuses : public ::testing::TestWithParam<BadConfig> {};

TEST_P(LlamaFamilyRefuses, ByName) {
  const Json json = patched(GetParam().golden, GetParam().patch);
  expect_input_error([&] { read(json); }, GetParam().part);
}

INSTANTIATE_TEST_SUITE_P(
    Keys, LlamaFamilyRefuses,
    ::testing::Values(
        BadConfig{
            "window_of_nothing", "mistral-window", {{"sliding_window", 0}}, "'sliding_window'"},
        BadConfig{"ministral",
                  "mistral-window",
                  {{"layer_types", {"full_attention", "full_attention"}}},
                  "'layer_types'"},
        BadConfig{"too_few_layer_types",
                  "qwen2-layer-types",
                  {{"layer_types", {"full_attention"}}},
                  "'layer_types'"},
        BadConfig{"unknown_layer_type",
                  "qwen3-norms",
                  {{"layer_types", {"full_attention", "linear_attention"}}},
                  "linear_attention"},
        BadConfig{"sliding_without_window",
                  "qwen2-layer-types",
                  {{"use_sliding_window", false}},
                  "'use_sliding_window'"},
        BadConfig{"many_layers",
                  "qwen2-window",
                  {{"num_hidden_layers", 2'000'000'000}},
                  "number of layers"},
        BadConfig{"many_layers_with_windows",
                  "mistral-window",
                  {{"num_hidden_layers", 2'000'000'000}},
                  "number of layers"},
        BadConfig{"share_of_a_head",
                  "qwen2-tied",
                  {{"partial_rotary_factor", 0.5}},
                  "'partial_rotary_factor'"},
        BadConfig{"activation", "olmo2-norms", {{"hidden_act", "gelu"}}, "'hidden_act'"},
        BadConfig{"scaling_of_others",
                  "phi3-longrope",
                  {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}},
                  "'linear'"}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

Json qwen3_metadata(const Json& patch = Json::object()) {
  Json metadata = {{"qwen3.block_count", 2},
                   {"qwen3.attention.head_count", 4},
                   {"qwen3.attention.head_count_kv", 2},
                   {"qwen3.attention.key_length", 14},
                   {"qwen3.attention.value_length", 14},
                   {"qwen3.embedding_length", 24},
                   {"qwen3.feed_forward_length", 26},
                   {"qwen3.context_length", 64},
                   {"qwen3.attention.layer_norm_rms_epsilon", 1e-6},
                   {"qwen3.rope.freq_base", 700.0},
                   {"tokenizer.ggml.tokens", {"a", "b", "c"}}};
  metadata.merge_patch(patch);
  return metadata;
}

ModelConfig read_qwen3(const Json& patch = Json::object()) {
  return architecture("qwen3").config_from_gguf(qwen3_metadata(patch));
}

TEST(LlamaFamilyGguf, KeysCarryTheNameOfTheArchitecture) {
  const ModelConfig config = read_qwen3();
  EXPECT_EQ(config.head_size, 14);
  EXPECT_EQ(config.n_kv_heads, 2);
  EXPECT_EQ(config.vocab_size, 3);
  EXPECT_EQ(config.qk_norm, QkNormKind::per_head);
  EXPECT_EQ(config.rope, (RopeConfig{.theta = 700.0, .dimensions = 14}));
}

TEST(LlamaFamilyGguf, AFactorWithoutATypeIsLinear) {
  for (const char* key : {"qwen3.rope.scaling.factor", "qwen3.rope.scale_linear"}) {
    const RopeConfig rope = read_qwen3({{key, 4.0}}).rope;
    EXPECT_EQ(rope.scaling, RopeScaling::linear) << key;
    EXPECT_EQ(rope.factor, 4.0) << key;
  }
  const Json none = {{"qwen3.rope.scaling.type", "none"}, {"qwen3.rope.scaling.factor", 4.0}};
  EXPECT_EQ(read_qwen3(none).rope.scaling, RopeScaling::none);
}

TEST(LlamaFamilyGguf, WhatWouldChangeNumbersIsRefused) {
  const auto refuse = [](const std::string& key, const Json& value) {
    expect_input_error([&] { read_qwen3({{"qwen3." + key, value}}); }, "'qwen3." + key + "'");
  };
  refuse("rope.scaling.type", "yarn");
  refuse("rope.scaling.factor", -1.0);
  refuse("rope.scaling.attn_factor", 0.5);
  refuse("rope.dimension_count", 8);
  refuse("attention.value_length", 12);
  refuse("attention.sliding_window", 32);
  refuse("attention.causal", false);
  refuse("attention.scale", 0.5);
  refuse("logit_scale", 2.0);
  EXPECT_EQ(read_qwen3({{"qwen3.attention.sliding_window", 64}}).max_positions, 64);
}

}  // namespace
}  // namespace mechsweep
