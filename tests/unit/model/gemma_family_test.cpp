#include "model/arch/gemma_family.h"

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "architecture_files.h"
#include "checkpoint_files.h"
#include "core/json.h"

// How configs and GGUF metadata of Gemma 2 and 3 are read. What is expected comes from
// transformers' configuration classes, the published models and llama.cpp's conventions.

namespace mechsweep {
namespace {

using namespace test_files;
using ::testing::ElementsAre;

/// The same with one key set, to null if need be.
Json with(const std::string& name, const char* key, const Json& value) {
  Json json = patched(name);
  json[key] = value;
  return json;
}

ModelConfig read(const Json& json) {
  const bool older = json.at("model_type") == "gemma2";
  return architecture(older ? "gemma2" : "gemma3").config_from_hf(json);
}

std::vector<bool> local_layers(const ModelConfig& config) {
  std::vector<bool> all;
  for (int layer = 0; layer < config.n_layers; ++layer)
    all.push_back(config.layer_kind(layer).local_rope);
  return all;
}

TEST(GemmaFamily, WindowsFollowLayerTypesOrThePeriod) {
  EXPECT_THAT(windows(read(patched("gemma2-caps"))), ElementsAre(5, 0, 5));
  EXPECT_THAT(windows(read(patched("gemma2-plain"))), ElementsAre(0, 7));
  EXPECT_THAT(windows(read(patched("gemma3-pattern"))), ElementsAre(5, 0, 5, 0));
  EXPECT_THAT(windows(read(patched("gemma3-layer-types"))), ElementsAre(6, 6, 0));
  const Json seven = {{"num_hidden_layers", 7}, {"sliding_window_pattern", nullptr}};
  EXPECT_THAT(windows(read(patched("gemma3-pattern", seven))), ElementsAre(5, 5, 5, 5, 5, 0, 5));
  const Json absent = patched("gemma2-caps", {{"sliding_window", nullptr}});
  EXPECT_THAT(windows(read(absent)), ElementsAre(4096, 0, 4096));
}

TEST(GemmaFamily, OnlyGemma3HasALocalRotation) {
  EXPECT_THAT(local_layers(read(patched("gemma3-pattern"))), ElementsAre(true, false, true, false));
  EXPECT_THAT(local_layers(read(patched("gemma3-layer-types"))), ElementsAre(true, true, false));
  EXPECT_THAT(local_layers(read(patched("gemma2-caps"))), ElementsAre(false, false, false));
}

TEST(GemmaFamily, OlderKeysScaleTheGlobalRotationOnly) {
  const ModelConfig config = read(patched("gemma3-pattern"));
  const RopeConfig global = {
      .theta = 9000.0, .dimensions = 8, .scaling = RopeScaling::linear, .factor = 8.0};
  EXPECT_EQ(config.rope, global);
  EXPECT_EQ(config.local_rope, (RopeConfig{.theta = 50.0, .dimensions = 8}));
}

TEST(GemmaFamily, EachTypeOfLayersHasItsParameters) {
  const ModelConfig config = read(patched("gemma3-layer-types"));
  EXPECT_EQ(config.rope, (RopeConfig{.theta = 9000.0, .dimensions = 10}));
  EXPECT_EQ(config.local_rope, (RopeConfig{.theta = 50.0, .dimensions = 10}));
  const Json absent = patched("gemma3-layer-types", {{"rope_parameters", nullptr}});
  EXPECT_EQ(read(absent).rope.theta, 1e6);
  EXPECT_EQ(read(absent).local_rope.theta, 1e4);
}

TEST(GemmaFamily, CapsThatAreAbsentAreNotCapsThatAreNull) {
  const Json absent = {{"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", nullptr}};
  const auto caps = [](const Json& json) {
    const ModelConfig config = read(json);
    return std::vector<double>{config.score_cap, config.logit_cap};
  };
  EXPECT_THAT(caps(patched("gemma2-caps")), ElementsAre(1.5, 4.0));
  EXPECT_THAT(caps(patched("gemma2-plain")), ElementsAre(0.0, 0.0));
  EXPECT_THAT(caps(patched("gemma2-caps", absent)), ElementsAre(50.0, 30.0));
  EXPECT_THAT(caps(patched("gemma3-layer-types")), ElementsAre(0.0, 4.0));
  EXPECT_THAT(caps(patched("gemma3-layer-types", absent)), ElementsAre(0.0, 0.0));
  EXPECT_THAT(caps(with("gemma3-pattern", "attn_logit_softcapping", 2.0)), ElementsAre(0.0, 0.0));
}

TEST(GemmaFamily, ScalesComeFromTheConfig) {
  const ModelConfig config = read(patched("gemma2-caps"));
  EXPECT_DOUBLE_EQ(config.attention_scale, 1.0 / std::sqrt(20.0));
  EXPECT_DOUBLE_EQ(config.embedding_scale, std::sqrt(24.0));
  const Json absent = patched("gemma3-pattern", {{"query_pre_attn_scalar", nullptr}});
  EXPECT_DOUBLE_EQ(read(absent).attention_scale, 1.0 / 16.0);
}

/// The text part of the published Gemma 3 4B says no more than this.
TEST(GemmaFamily, MissingKeysHaveTheDefaultsOfTransformers) {
  const ModelConfig config = read({{"hidden_size", 2560},
                                   {"intermediate_size", 10'240},
                                   {"model_type", "gemma3_text"},
                                   {"num_hidden_layers", 34},
                                   {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                                   {"sliding_window", 1024}});
  EXPECT_EQ(config.n_heads, 8);
  EXPECT_EQ(config.n_kv_heads, 4);
  EXPECT_EQ(config.head_size, 256);
  EXPECT_EQ(config.vocab_size, 262'208);
  EXPECT_EQ(config.max_positions, 131'072);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.activation, ActivationKind::gelu_tanh);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.rope.factor, 8.0);
  EXPECT_EQ(config.rope.theta, 1e6);
}

std::set<std::string> names(const ModelTensors& tensors) {
  std::set<std::string> all;
  const auto add = [&](const TensorRef& ref) {
    if (ref.present()) all.insert(ref.name);
  };
  add(tensors.embedding);
  add(tensors.final_norm);
  add(tensors.unembedding);
  for (const LayerTensors& one : tensors.layers)
    for (const TensorRef& ref :
         {one.attn_norm, one.q, one.k, one.v, one.q_bias, one.k_bias, one.v_bias, one.q_norm,
          one.k_norm, one.o, one.o_bias, one.attn_post_norm, one.mlp_norm, one.gate, one.up,
          one.down, one.mlp_post_norm})
      add(ref);
  return all;
}

std::set<std::string> names(const TensorSource& source) {
  std::set<std::string> all;
  for (const TensorInfo& info : source.tensors()) all.insert(info.name);
  return all;
}

TEST(GemmaFamily, TensorsHaveTheNamesOfTheFiles) {
  for (const char* name : {"gemma2-caps", "gemma2-plain", "gemma3-pattern", "gemma3-layer-types"}) {
    const auto source = open_safetensors(golden(name));
    EXPECT_EQ(names(gemma_tensors_of_hf(read(patched(name)), *source)), names(*source)) << name;
  }
}

TEST(GemmaFamily, NormsOfFoldersAreStoredMinusOne) {
  const auto source = open_safetensors(golden("gemma3-pattern"));
  const ModelTensors tensors = gemma_tensors_of_hf(read(patched("gemma3-pattern")), *source);
  const LayerTensors& one = tensors.layers.at(2);
  for (const TensorRef& norm : {one.attn_norm, one.attn_post_norm, one.mlp_norm, one.mlp_post_norm,
                                one.q_norm, one.k_norm, tensors.final_norm})
    EXPECT_TRUE(norm.add_one) << norm.name;
  for (const TensorRef& other : {one.q, one.down, tensors.embedding})
    EXPECT_FALSE(other.add_one) << other.name;
}

struct BadConfig {
  const char* name;
  const char* golden;
  const char* key;
  Json value;
  const char* part;
};

void PrintTo(const BadConfig& one, std::ostream* out) {
  *out << one.name;
}

class GemmaFamilyRefuses : public ::testing::TestWithParam<BadConfig> {};

TEST_P(GemmaFamilyRefuses, ByName) {
  const Json json = with(GetParam().golden, GetParam().key, GetParam().value);
  expect_input_error([&] { read(json); }, GetParam().part);
}

const Json kFlat = {{"rope_type", "linear"}, {"rope_theta", 9000.0}, {"factor", 8.0}};
const Json kOldType = {{"type", "linear"}, {"factor", 8.0}};
const Json kHalfHeads = {{"rope_type", "linear"}, {"factor", 2.0}, {"partial_rotary_factor", 0.5}};

INSTANTIATE_TEST_SUITE_P(
    Keys, GemmaFamilyRefuses,
    ::testing::Values(
        BadConfig{"window_null", "gemma2-caps", "sliding_window", nullptr, "'sliding_window'"},
        BadConfig{"window_zero", "gemma3-pattern", "sliding_window", 0, "'sliding_window'"},
        BadConfig{"period_zero", "gemma3-pattern", "sliding_window_pattern", 0,
                  "'sliding_window_pattern'"},
        BadConfig{"period_of_gemma2", "gemma2-caps", "sliding_window_pattern", 3,
                  "'sliding_window_pattern'"},
        BadConfig{"many_layers", "gemma3-pattern", "num_hidden_layers", 2'000'000'000,
                  "number of layers"},
        BadConfig{
            "few_layer_types", "gemma2-plain", "layer_types", {"full_attention"}, "'layer_types'"},
        BadConfig{"layer_type", "gemma2-plain", "layer_types", {"conv", "full_attention"}, "conv"},
        BadConfig{"both_ways", "gemma3-pattern", "use_bidirectional_attention", true,
                  "'use_bidirectional_attention'"},
        BadConfig{"cap_zero", "gemma2-caps", "attn_logit_softcapping", 0.0,
                  "'attn_logit_softcapping'"},
        BadConfig{"activation", "gemma3-pattern", "hidden_activation", "swiglu",
                  "'hidden_activation'"},
        BadConfig{"flat_parameters", "gemma3-layer-types", "rope_parameters", kFlat,
                  "'rope_parameters'"},
        BadConfig{"old_type", "gemma3-pattern", "rope_scaling", kOldType, "'rope_type'"},
        BadConfig{"part_of_heads", "gemma2-caps", "rope_scaling", kHalfHeads,
                  "'partial_rotary_factor'"}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

/// What the file of the published 270M has; sizes of other models by `patch`.
Json metadata(const std::string& name, const Json& patch = Json::object()) {
  const Json values = {{"block_count", 18},
                       {"attention.head_count", 4},
                       {"attention.head_count_kv", 1},
                       {"attention.key_length", 256},
                       {"attention.value_length", 256},
                       {"embedding_length", 640},
                       {"feed_forward_length", 2048},
                       {"context_length", 32'768},
                       {"attention.layer_norm_rms_epsilon", 1e-6},
                       {"attention.sliding_window", 512},
                       {"rope.freq_base", 1e6}};
  Json all = {{"tokenizer.ggml.tokens", {"a", "b", "c"}}};
  Json chosen = values;
  chosen.merge_patch(patch);
  for (const auto& [key, value] : chosen.items()) all[name + "." + key] = value;
  return all;
}

ModelConfig read_gguf(const std::string& name, const Json& patch = Json::object()) {
  return architecture(name).config_from_gguf(metadata(name, patch));
}

TEST(GemmaFamilyGguf, ConventionsFillWhatKeysDoNotSay) {
  const ModelConfig config = read_gguf("gemma3");
  EXPECT_EQ(config.vocab_size, 3);
  EXPECT_EQ(config.attention_scale, 1.0 / 16.0);
  EXPECT_DOUBLE_EQ(config.embedding_scale, std::sqrt(640.0));
  EXPECT_EQ(config.rope, (RopeConfig{.theta = 1e6, .dimensions = 256}));
  EXPECT_EQ(config.local_rope, (RopeConfig{.theta = 1e4, .dimensions = 256}));
  for (int layer = 0; layer < 18; ++layer) {
    const bool global = layer == 5 || layer == 11 || layer == 17;
    EXPECT_EQ(config.layer_kind(layer).window, global ? 0 : 512) << layer;
    EXPECT_EQ(config.layer_kind(layer).local_rope, !global) << layer;
  }
  const ModelConfig gemma2 =
      read_gguf("gemma2", {{"attention.sliding_window", nullptr}, {"rope.freq_base", nullptr}});
  EXPECT_EQ(gemma2.layer_kind(0).window, 4096);
  EXPECT_EQ(gemma2.layer_kind(1).window, 0);
  EXPECT_EQ(gemma2.rope.theta, 1e4);
  EXPECT_EQ(gemma2.score_cap, 50.0);
  EXPECT_EQ(gemma2.logit_cap, 30.0);
}

TEST(GemmaFamilyGguf, TheLargestModelsScaleQueriesByTheirShareOfTheWidth) {
  const auto sizes = [](int layers, int width) {
    return Json{{"block_count", layers},       {"embedding_length", width},
                {"attention.head_count", 32},  {"attention.head_count_kv", 16},
                {"attention.key_length", 128}, {"attention.value_length", 128}};
  };
  EXPECT_DOUBLE_EQ(read_gguf("gemma2", sizes(46, 4608)).attention_scale, 1.0 / 12.0);
  EXPECT_DOUBLE_EQ(read_gguf("gemma3", sizes(62, 5376)).attention_scale, 1.0 / std::sqrt(168.0));
  expect_input_error([&] { read_gguf("gemma3", sizes(40, 5376)); }, "scale of its queries");
}

TEST(GemmaFamilyGguf, AFactorScalesTheGlobalRotationOnly) {
  const ModelConfig config =
      read_gguf("gemma3", {{"rope.scaling.type", "linear"}, {"rope.scaling.factor", 8.0}});
  EXPECT_EQ(config.rope.scaling, RopeScaling::linear);
  EXPECT_EQ(config.rope.factor, 8.0);
  EXPECT_EQ(config.local_rope.scaling, RopeScaling::none);
}

TEST(GemmaFamilyGguf, WithoutAWindowAllLayersAreGlobal) {
  const ModelConfig config = read_gguf("gemma3", {{"attention.sliding_window", nullptr}});
  for (int layer = 0; layer < 18; ++layer) {
    EXPECT_EQ(config.layer_kind(layer).window, 0);
    EXPECT_FALSE(config.layer_kind(layer).local_rope);
  }
}

TEST(GemmaFamilyGguf, TheFetchedFileHasTheNames) {
  const std::string path = MECHSWEEP_SOURCE_DIR "/models/gemma3-270m/gemma-3-270m-q4_k_m.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const GgufFile file = open_gguf(path);
  const ModelConfig config = architecture("gemma3").config_from_gguf(file.metadata);
  EXPECT_EQ(config.vocab_size, 262'144);
  EXPECT_EQ(config.layer_kind(0).window, 512);
  const ModelTensors tensors = gemma_tensors_of_gguf(config, *file.tensors);
  EXPECT_EQ(names(tensors), names(*file.tensors));
  EXPECT_EQ(names(tensors).size(), 236U);
  for (const LayerTensors& one : tensors.layers) EXPECT_FALSE(one.attn_norm.add_one);
}

TEST(GemmaFamilyGguf, WhatWouldChangeNumbersIsRefused) {
  const auto refuses = [](const char* name, const char* key, const Json& value) {
    expect_input_error([&] { read_gguf(name, {{key, value}}); }, std::string(name) + "." + key);
  };
  refuses("gemma3", "rope.scaling.type", "yarn");
  refuses("gemma3", "rope.dimension_count", 128);
  refuses("gemma3", "attention.value_length", 128);
  refuses("gemma3", "attention.causal", false);
  refuses("gemma3", "attention.sliding_window_pattern", {true, false});
  refuses("gemma3", "rope.freq_base", nullptr);
  refuses("gemma3", "attn_logit_softcapping", 50.0);
  refuses("gemma2", "rope.freq_base_swa", 5000.0);
  refuses("gemma2", "final_logit_softcapping", 0.0);
}

}  // namespace
}  // namespace mechsweep
