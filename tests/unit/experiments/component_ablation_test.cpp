#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::ParsedExperiment;
using test_experiments::ragged_prompts;
using test_experiments::RunPointer;
using test_experiments::small_model;
using test_experiments::SpellingExecutor;
using test_experiments::template_prompts;
using testing::ElementsAre;

class ComponentAblationTest : public testing::Test {
 protected:
  RunPointer bind_run(const Json& json) {
    return ParsedExperiment("component_ablation", json).bind(model_, prompts_);
  }
  std::vector<std::string> problems(const Json& json) {
    return ParsedExperiment("component_ablation", json).problems.lines();
  }
  /// What is asked of the executor for the edits of some prompts at some places of the first axis.
  std::vector<std::string> asked(const Json& json, Range prompts, Range first) {
    const RunPointer run = bind_run(json);
    executor_.asked.clear();
    run->execute(0, prompts, first, executor_);
    return executor_.asked_edits();
  }
  /// Names and sizes of the axes of an edited array, the prompt's left out.
  std::vector<std::string> axes(const Json& json) {
    std::vector<std::string> found;
    const RunPointer run = bind_run(json);
    const ArraySpec last = run->arrays().back();
    for (size_t i = 1; i < last.axes.size(); ++i)
      found.push_back(fmt::format("{} {} {}", last.axes[i].name, last.axes[i].size,
                                  fmt::join(last.axes[i].labels, " ")));
    return found;
  }

  ModelConfig model_ = small_model(2, 2);
  PromptSet prompts_ = template_prompts();
  SpellingExecutor executor_{model_};
  const Json zero_ = {
      {"components", {"mlp_out", "attn_out"}}, {"operation", "zero"}, {"positions", {-1}}};

  Json with(const std::string& key, const Json& value) const {
    Json json = zero_;
    json[key] = value;
    return json;
  }
  static Json neurons(const Json& which, const std::string& operation) {
    return {{"neurons", which}, {"operation", operation}, {"positions", {-1}}};
  }
};

TEST_F(ComponentAblationTest, ComponentsAreAnAxisInTheirOrder) {
  EXPECT_THAT(axes(zero_), ElementsAre("layer 2 ", "component 2 mlp_out attn_out"));
  EXPECT_THAT(asked(zero_, {2, 3}, {0, 2}),
              ElementsAre("clean 7,8|mlp_out L0 H P1 zero", "clean 7,8|attn_out L0 H P1 zero",
                          "clean 7,8|mlp_out L1 H P1 zero", "clean 7,8|attn_out L1 H P1 zero"));
}

TEST_F(ComponentAblationTest, FurtherAxesFollowInTheirOrder) {
  Json json = with("positions", "each");
  json["operation"] = {"zero", "mean"};
  json["components"] = "resid_mid";
  EXPECT_THAT(axes(json), ElementsAre("layer 2 ", "component 1 resid_mid", "position 4 ",
                                      "operation 2 zero mean"));
  json = with("operation", "resample");
  json["draws"] = 3;
  prompts_.prompts.resize(2);
  EXPECT_EQ(axes(json).back(), "draw 3 ");
}

TEST_F(ComponentAblationTest, PlacesPastAPromptsEndAreNotAsked) {
  const Json json = with("positions", "each");
  EXPECT_EQ(asked(json, {2, 3}, {0, 1}).size(), 4);  // two components, two tokens
  EXPECT_EQ(asked(json, {3, 4}, {0, 1}).size(), 8);
}

TEST_F(ComponentAblationTest, OperationsAreAskedForAsTheirNamesSay) {
  Json json = with("components", "attn_out");
  json["layers"] = 1;
  json["operation"] = "mean";
  EXPECT_EQ(asked(json, {1, 2}, {0, 1}).back(),
            "clean 4,5,6|attn_out L1 H P2 mean of 3,3,2 without clean 4,5,6");
  json["mean_over"] = "all";
  EXPECT_EQ(asked(json, {1, 2}, {0, 1}).back(),
            "clean 4,5,6|attn_out L1 H P2 mean of 5,5,4,2 without clean 4,5,6");
  json.erase("mean_over");
  json["operation"] = "resample";
  json["downstream"] = "freeze";
  prompts_.prompts.resize(2);
  EXPECT_EQ(asked(json, {1, 2}, {0, 1}).back(),
            "clean 4,5,6|attn_out L1 H P2 replace clean 1,2,3|freeze");
}

TEST_F(ComponentAblationTest, DrawsAreThoseOfOtherAblations) {
  prompts_.prompts.assign(4, prompts_.prompts[2]);
  for (int32_t p = 0; p < 4; ++p) prompts_.prompts[p].tokens = {p, 50};
  Json json = with("components", "mlp_out");
  json["operation"] = "resample";
  json["draws"] = 3;
  std::vector<std::string> expected;
  for (uint64_t draw = 0; draw < 3; ++draw) {
    const uint32_t drawn = RandomStream(7, "resample/e/m/p/1", draw).below(3);
    expected.push_back(fmt::format("clean 1,50|mlp_out L0 H P1 replace clean {},50",
                                   drawn >= 1 ? drawn + 1 : drawn));
  }
  EXPECT_EQ(asked(json, {1, 2}, {0, 1}), expected);
}

TEST_F(ComponentAblationTest, NeuronsChangeAlongTheirOwnDirections) {
  model_.d_mlp = 3;
  EXPECT_THAT(axes(neurons({"L1N0", "L0N2"}, "zero")), ElementsAre("named_neuron 2 L1N0 L0N2"));
  EXPECT_THAT(asked(neurons({"L1N0", "L0N2"}, "zero"), {2, 3}, {0, 2}),
              ElementsAre("clean 7,8|mlp_hidden L1 H P1 remove [1,0,0]",
                          "clean 7,8|mlp_hidden L0 H P1 remove [0,0,1]"));
  prompts_.prompts.resize(2);
  EXPECT_THAT(asked(neurons({"L1N1"}, "resample"), {0, 1}, {0, 1}),
              ElementsAre("clean 1,2,3|mlp_hidden L1 H P2 transplant [0,1,0] clean 4,5,6"));
}

TEST_F(ComponentAblationTest, ASetOfNeuronsIsOneJointEdit) {
  model_.d_mlp = 2;
  const Json json = neurons({{"sets", {{"both", {"L1N0", "L0N1", "L0N0"}}}}}, "zero");
  EXPECT_THAT(axes(json), ElementsAre("set 1 both"));
  EXPECT_THAT(asked(json, {2, 3}, {0, 1}),
              ElementsAre("clean 7,8|mlp_hidden L0 H P1 remove [1,0]|mlp_hidden L0 H P1 remove "
                          "[0,1]|mlp_hidden L1 H P1 remove [1,0]"));
}

TEST_F(ComponentAblationTest, EstimandAndDefinitionsAreStored) {
  const Json attributes = bind_run(zero_)->attributes();
  EXPECT_EQ(attributes.at("estimand"),
            "mlp_out or attn_out of one layer zeroed at positions [-1], downstream recomputed");
  EXPECT_EQ(attributes.at("site"), "mlp_out, attn_out");
  EXPECT_TRUE(attributes.contains("definition_zero"));
  EXPECT_FALSE(attributes.contains("definition_mean"));
  EXPECT_EQ(bind_run(neurons({"L1N0"}, "zero"))->attributes().at("estimand"),
            "one neuron (mlp_hidden) zeroed at positions [-1], downstream recomputed");
}

TEST_F(ComponentAblationTest, ParametersAreInCanonicalForm) {
  EXPECT_EQ(ParsedExperiment("component_ablation", zero_).experiment->parameters("").dump(),
            R"({"components":["mlp_out","attn_out"],"downstream":"recompute","layers":"all",)"
            R"("operation":"zero","positions":[-1],"readouts":[],"top_k":0})");
  EXPECT_EQ(ParsedExperiment("component_ablation", neurons({{"sets", {{"s", {"L0N1"}}}}}, "zero"))
                .experiment->parameters("")
                .at("neurons")
                .dump(),
            R"([{"neurons":["L0N1"],"set":"s"}])");
}

TEST_F(ComponentAblationTest, WhatDoesNotGoTogetherIsNamed) {
  EXPECT_THAT(problems({{"operation", "zero"}, {"positions", "all"}}),
              ElementsAre(testing::HasSubstr(
                  "needs `components` such as [attn_out, mlp_out], or `neurons`")));
  EXPECT_THAT(problems(with("neurons", {"L0N1"})),
              ElementsAre("s.yaml:10:5: components: goes not with `neurons`; give them experiments "
                          "of their own"));
  EXPECT_THAT(problems(with("components", {"mlp_out", "z", "mlp_out"})),
              ElementsAre(testing::HasSubstr("components[1]: unknown value 'z'"),
                          "s.yaml:10:22: components[2]: names 'mlp_out' twice"));
  EXPECT_THAT(problems(with("operation", "value_bias")),
              ElementsAre(testing::HasSubstr("(known: zero, mean, resample)")));
  Json json = neurons({"L0N1"}, "mean");
  json["layers"] = 0;
  EXPECT_THAT(problems(json),
              ElementsAre(testing::HasSubstr("layers: goes not with `neurons`"),
                          testing::HasSubstr("operation: mean goes with `components` only")));
  EXPECT_THAT(problems(neurons({"L0H1", "L0N1", "L0N1"}, "zero")),
              ElementsAre("s.yaml:10:20: neurons[0]: must be a neuron's name: L, the layer, N, the "
                          "neuron, such as L3N17",
                          "s.yaml:10:22: neurons[2]: L0N1 is named twice"));
}

TEST_F(ComponentAblationTest, WhatTheModelLacksIsNamedWhenBound) {
  EXPECT_EQ(failure([&] { bind_run(neurons({"L0N16"}, "zero")); }),
            "usage: `neurons` names L0N16, but the model has layers 0..1 with neurons 0..15");
  model_.parallel_residual = true;
  EXPECT_THAT(failure([&] { bind_run(with("components", "resid_mid")); }),
              testing::StartsWith("usage: "));
}

}  // namespace
}  // namespace mechsweep
