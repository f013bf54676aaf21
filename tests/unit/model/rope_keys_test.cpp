#include "model/arch/rope_keys.h"

#include <cmath>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint_files.h"
#include "core/json.h"

// Rotary settings in every spelling. Attention factors are those that transformers' own functions
// gave for the same settings.

namespace mechsweep {
namespace {

using namespace test_files;
using ::testing::HasSubstr;

Json golden_config(const std::string& name) {
  const std::string path =
      std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/checkpoints/" + name + "/config.json";
  std::ifstream file(path);
  return Json::parse(file);
}

struct Reading {
  ModelConfig config;
  RopeConfig rope;
};

/// What a config of heads of 12 and 64 positions says.
Reading read(const Json& json, const char* layer_type = "", int head_size = 12) {
  Reading reading;
  reading.config.head_size = head_size;
  reading.config.max_positions = 64;
  reading.rope = rope_from_hf(json, reading.config, layer_type);
  return reading;
}

TEST(RopeKeys, UnscaledRotationHasItsBaseInTwoPlaces) {
  EXPECT_EQ(read(Json::object()).rope, (RopeConfig{.theta = 10000.0, .dimensions = 12}));
  const RopeConfig expected{.theta = 700.0, .dimensions = 12};
  const Json parameters = {{"rope_theta", 700}};
  EXPECT_EQ(read({{"rope_theta", 700.0}}).rope, expected);
  EXPECT_EQ(read({{"rope_theta", 700.0}, {"rope_scaling", nullptr}}).rope, expected);
  EXPECT_EQ(read({{"rope_parameters", parameters}}).rope, expected);
  EXPECT_EQ(read({{"rope_theta", 5.0}, {"rope_parameters", parameters}}).rope, expected);
  // Factors without a type do nothing.
  EXPECT_EQ(read({{"rope_theta", 700.0}, {"rope_scaling", {{"factor", 4.0}}}}).rope, expected);
}

TEST(RopeKeys, TheOlderMapOfSettingsWinsUnlessItIsEmpty) {
  const Json linear = {{"type", "linear"}, {"factor", 2.0}};
  const Json parameters = {{"rope_type", "linear"}, {"factor", 8.0}};
  EXPECT_EQ(read({{"rope_scaling", linear}, {"rope_parameters", parameters}}).rope.factor, 2.0);
  EXPECT_EQ(read({{"rope_scaling", Json::object()}, {"rope_parameters", parameters}}).rope.factor,
            8.0);
}

TEST(RopeKeys, TheNewerKeyForTheTypeWins) {
  const Json both = {{"type", "yarn"}, {"rope_type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(read({{"rope_scaling", both}}).rope.scaling, RopeScaling::linear);
}

TEST(RopeKeys, AShareOfAHeadIsCutToWholeDimensions) {
  EXPECT_EQ(read({{"partial_rotary_factor", 0.5}}).rope.dimensions, 6);
  EXPECT_EQ(read({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}).rope.dimensions, 6);
  const Json inside = {{"partial_rotary_factor", 0.34}};
  const Reading both = read({{"partial_rotary_factor", 1.0}, {"rope_scaling", inside}});
  EXPECT_EQ(both.rope.dimensions, 4);
}

TEST(RopeKeys, LinearScalingOfTheGolden) {
  const Reading reading = read(golden_config("llama-rope-linear"), "", 6);
  EXPECT_EQ(
      reading.rope,
      (RopeConfig{.theta = 700.0, .dimensions = 6, .scaling = RopeScaling::linear, .factor = 4.0}));
  EXPECT_EQ(reading.config.max_positions, 64);
}

TEST(RopeKeys, Llama3ScalingOfTheGolden) {
  EXPECT_EQ(read(golden_config("llama-rope-llama3")).rope,
            (RopeConfig{.theta = 700.0,
                        .dimensions = 12,
                        .scaling = RopeScaling::llama3,
                        .factor = 8.0,
                        .original_positions = 32,
                        .low_freq_factor = 1.0,
                        .high_freq_factor = 4.0}));
}

TEST(RopeKeys, YarnOfTheGoldens) {
  RopeConfig expected{.theta = 700.0,
                      .dimensions = 12,
                      .scaling = RopeScaling::yarn,
                      .factor = 4.0,
                      .original_positions = 16,
                      .attention_factor = 1.138629436111989};
  EXPECT_EQ(read(golden_config("llama-rope-yarn")).rope, expected);
  const Reading mscale = read(golden_config("llama-rope-yarn-mscale"));
  EXPECT_EQ(mscale.rope.beta_fast, 2.0);
  EXPECT_EQ(mscale.rope.beta_slow, 0.5);
  EXPECT_DOUBLE_EQ(mscale.rope.attention_factor, 1.1023872193956545);
  expected.beta_fast = 1.5;
  expected.beta_slow = 0.25;
  expected.truncate = false;
  expected.attention_factor = 1.37;
  EXPECT_EQ(read(golden_config("llama-rope-yarn-given")).rope, expected);
}

TEST(RopeKeys, YarnTakesNullsAndZerosAsTransformersDoes) {
  const Reading reading = read({{"max_position_embeddings", 64},
                                {"rope_scaling",
                                 {{"rope_type", "yarn"},
                                  {"factor", nullptr},
                                  {"original_max_position_embeddings", 32},
                                  {"beta_fast", 0},
                                  {"beta_slow", nullptr},
                                  {"mscale", 1.0},
                                  {"mscale_all_dim", 0},
                                  {"truncate", nullptr}}}});
  EXPECT_EQ(reading.rope.factor, 2.0);
  EXPECT_EQ(reading.rope.beta_fast, 32.0);
  EXPECT_EQ(reading.rope.beta_slow, 1.0);
  EXPECT_FALSE(reading.rope.truncate);
  EXPECT_DOUBLE_EQ(reading.rope.attention_factor, 1.0 + 0.1 * std::log(2.0));
}

TEST(RopeKeys, OriginalPositionsBesideTheMapCountMore) {
  const Json yarn = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}};
  const Reading beside = read({{"rope_scaling", yarn}, {"original_max_position_embeddings", 8}});
  EXPECT_EQ(beside.rope.original_positions, 8);
  const Reading nowhere = read({{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}}});
  EXPECT_EQ(nowhere.rope.original_positions, 64);
}

TEST(RopeKeys, DynamicScalingBeginsBeyondTheContextOfTheConfig) {
  const Json config = golden_config("llama-rope-dynamic");
  const Reading reading = read(config, "", 6);
  const double factor = config.at("rope_parameters").at("factor");
  EXPECT_EQ(reading.rope, (RopeConfig{.theta = 700.0,
                                      .dimensions = 6,
                                      .scaling = RopeScaling::dynamic,
                                      .factor = factor,
                                      .original_positions = 12}));
  EXPECT_EQ(reading.config.max_positions, static_cast<int>(12 * factor));
}

TEST(RopeKeys, LongropeHasFactorsForShortAndLongPrompts) {
  const Reading reading = read(golden_config("phi3-longrope"), "", 6);
  EXPECT_EQ(reading.rope.scaling, RopeScaling::longrope);
  EXPECT_EQ(reading.rope.frequency_factors, (std::vector<double>{1.0, 1.1, 1.3}));
  EXPECT_EQ(reading.rope.long_frequency_factors.size(), 3U);
  EXPECT_DOUBLE_EQ(reading.rope.attention_factor, 1.2936992208031892);
  EXPECT_EQ(reading.rope.original_positions, 12);
  EXPECT_EQ(reading.config.max_positions, 64);
}

TEST(RopeKeys, LongropeWithinTheOriginalContextScalesNoScores) {
  const Json settings = {
      {"rope_type", "longrope"}, {"short_factor", {1, 2, 3}}, {"long_factor", {4, 5, 6}}};
  const Reading reading =
      read({{"rope_scaling", settings}, {"original_max_position_embeddings", 64}}, "", 6);
  EXPECT_EQ(reading.rope.attention_factor, 1.0);
  EXPECT_EQ(reading.config.max_positions, 64);
}

TEST(RopeKeys, OnlyDynamicAndLongropeTurnPromptsByTheirLength) {
  RopeConfig rope{.scaling = RopeScaling::dynamic, .original_positions = 12};
  EXPECT_EQ(rope.rotation_of(12), 0);
  EXPECT_EQ(rope.rotation_of(13), 13);
  rope.scaling = RopeScaling::longrope;
  EXPECT_EQ(rope.rotation_of(12), 0);
  EXPECT_EQ(rope.rotation_of(13), rope.rotation_of(40));
  EXPECT_NE(rope.rotation_of(13), 0);
  rope.scaling = RopeScaling::yarn;
  EXPECT_EQ(rope.rotation_of(13), 0);
}

TEST(RopeKeys, SettingsOfALayerType) {
  const Json json = golden_config("gemma3-layer-types");
  EXPECT_EQ(read(json, "full_attention").rope.theta, 9000.0);
  EXPECT_EQ(read(json, "sliding_attention").rope.theta, 50.0);
  EXPECT_EQ(read({{"rope_parameters", {{"rope_theta", 3.0}}}}, "full_attention").rope.theta, 3.0);
  expect_input_error([&] { read(json, "chunked_attention"); }, "'chunked_attention'");
  expect_input_error([&] { read(json); }, "'rope_parameters'");
}

struct BadRope {
  const char* name;
  Json settings;
  const char* part;
};

void PrintTo(const BadRope& one, std::ostream* out) {
  *out << one.name;
}

class BadRopes : public ::testing::TestWithParam<BadRope> {};

TEST_P(BadRopes, AreRefusedWithPlaceAndKey) {
  const Json json = {{"rope_scaling", GetParam().settings}};
  expect_input_error([&] { read(json); }, GetParam().part);
  expect_input_error([&] { read(json); }, "'rope_scaling'");
}

INSTANTIATE_TEST_SUITE_P(
    Settings, BadRopes,
    ::testing::Values(
        BadRope{"no_map", "linear", "not a map"},
        BadRope{"unknown_type", {{"rope_type", "stretched"}}, "'stretched'"},
        BadRope{"type_is_no_text", {{"rope_type", 3}}, "'rope_type'"},
        BadRope{"linear_without_factor", {{"type", "linear"}}, "'factor'"},
        BadRope{"negative_factor", {{"type", "linear"}, {"factor", -2.0}}, "-2"},
        BadRope{"dynamic_without_factor", {{"type", "dynamic"}}, "'factor'"},
        BadRope{"yarn_without_factor", {{"type", "yarn"}}, "'factor'"},
        BadRope{"yarn_without_context",
                {{"type", "yarn"}, {"factor", 2.0}, {"original_max_position_embeddings", 0}},
                "'original_max_position_embeddings'"},
        BadRope{"yarn_with_negative_scale",
                {{"type", "yarn"}, {"factor", 64.0}, {"mscale", -9.0}, {"mscale_all_dim", 1.0}},
                "'mscale'"},
        BadRope{
            "llama3_without_bounds", {{"type", "llama3"}, {"factor", 8.0}}, "'low_freq_factor'"},
        BadRope{"llama3_with_equal_bounds",
                {{"type", "llama3"},
                 {"factor", 8.0},
                 {"low_freq_factor", 4.0},
                 {"high_freq_factor", 4.0}},
                "'high_freq_factor'"},
        BadRope{"share_of_nothing", {{"partial_rotary_factor", 0.0}}, "'partial_rotary_factor'"},
        BadRope{"share_above_one", {{"partial_rotary_factor", 1.5}}, "'partial_rotary_factor'"},
        BadRope{"longrope_without_factors", {{"type", "longrope"}}, "'short_factor'"},
        BadRope{"longrope_with_too_few",
                {{"type", "longrope"}, {"short_factor", {1.0, 2.0}}},
                "list of 6"},
        BadRope{"longrope_with_a_text",
                {{"type", "longrope"}, {"short_factor", {1, 1, 1, 1, 1, "long"}}},
                "\"long\""}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

}  // namespace
}  // namespace mechsweep
