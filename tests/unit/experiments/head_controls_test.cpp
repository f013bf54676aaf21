#include "experiments/head_controls.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/stored_stage_support.h"

namespace mechsweep {
namespace {

using namespace test_experiments;  // NOLINT(google-build-using-namespace): all of it is for this
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kDrawStage = 1, kTrialStage = 2;

/// Sets of heads with controls, on five prompts of two templates.
class HeadControlsTest : public testing::Test {
 protected:
  Json sets_json() const {
    return {{"operation", "zero"},
            {"positions", {-1}},
            {"heads", {{"sets", {{"a", {"L0H0", "L2H1"}}, {"b", {"L1H1"}}}}}},
            {"controls", {{"random_k", 4}, {"match", {"uniform", "layer"}}}}};
  }
  RunPointer bind_run(const Json& json) {
    return ParsedExperiment("head_ablation", json).bind(model_, prompts_);
  }
  std::vector<std::string> problems(const Json& json) {
    return ParsedExperiment("head_ablation", json).problems.lines();
  }
  /// Draws, and keeps what was drawn.
  StoredStage draw(const RunPointer& run) {
    stored_.stages[{"e/m/p", kDrawStage}] =
        stored_stage(*run, kDrawStage, run->decide(kDrawStage, stored_));
    return stored_.stages[{"e/m/p", kDrawStage}];
  }

  ModelConfig model_ = small_model(3, 2);
  PromptSet prompts_ = template_prompts();
  SpellingExecutor executor_{model_};
  KeptResults stored_;
};

/// "z L0 H1 P2 zero|z L1 H0 P2 zero" of heads in ascending order.
std::string spelled(const std::vector<HeadPlace>& heads, int position) {
  std::map<int, std::vector<int>> by_layer;
  for (const HeadPlace& head : heads) by_layer[head.layer].push_back(head.head);
  std::string text;
  for (const auto& [layer, of_layer] : by_layer)
    text += fmt::format("|z L{} H{} P{} zero", layer, fmt::join(of_layer, ","), position);
  return text;
}

TEST_F(HeadControlsTest, SetsThatDrawHeadsGivesAreTried) {
  const RunPointer run = bind_run(sets_json());
  const StoredStage drawn = draw(run);
  std::vector<HeadPlace> candidates;
  for (int layer = 0; layer < 3; ++layer)
    for (int head = 0; head < 2; ++head) candidates.push_back({layer, head});
  const std::vector<std::vector<HeadPlace>> chosen = {{{0, 0}, {2, 1}}, {{1, 1}}};
  std::vector<std::string> expected;
  for (int draw = 1; draw < 3; ++draw)
    for (size_t place = 0; place < 2; ++place)
      for (const auto& [match, name] :
           {std::pair{DrawMatch::uniform, "uniform"}, {DrawMatch::layer, "layer"}}) {
        const auto all = draw_heads(
            candidates, chosen[place],
            {.draws = 4,
             .match = match,
             .seed = 7,
             .purpose = fmt::format("controls/e/m/p/{}/{}", place == 0 ? "a" : "b", name)});
        std::vector<HeadPlace> members;
        for (size_t i = 0; i < chosen[place].size(); ++i)
          members.push_back(candidates[all[draw * chosen[place].size() + i]]);
        const size_t row = (place * 2 + (match == DrawMatch::layer ? 1 : 0)) * 4 + draw;
        for (size_t i = 0; i < 2; ++i) {
          const bool there = i < members.size();
          EXPECT_EQ(drawn.arrays[0].values[row * 2 + i], there ? members[i].layer : -1);
          EXPECT_EQ(drawn.arrays[1].values[row * 2 + i], there ? members[i].head : -1);
        }
        expected.push_back("clean 4,5,6" + spelled(members, 2));
      }
  executor_.asked.clear();
  const UnitResult result = run->execute(kTrialStage, {1, 2}, {1, 3}, {executor_, &stored_});
  EXPECT_EQ(executor_.asked_edits(), expected);
  // The loss and whether the answer came first, and nothing else.
  ASSERT_EQ(result.blocks.size(), 2U);
  const auto losses = values_of<double>(result.blocks[0]);
  ASSERT_EQ(losses.size(), expected.size());
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_EQ(losses[i], code_of(expected[i]) + 20);
  EXPECT_THAT(values_of<uint8_t>(result.blocks[1]), testing::Each(0));
}

TEST_F(HeadControlsTest, AnswersThatComeFirstAreTold) {
  // The executor says that the largest logit is that of the token whose id is the number of tracked
  // ones. The second prompt lacks the second target.
  for (Prompt& prompt : prompts_.prompts) prompt.targets[0] = {.at = 0, .answer = 2, .wrong = {3}};
  prompts_.prompts[0].targets.push_back({.at = 1, .answer = 9, .wrong = {3}});
  const RunPointer run = bind_run(sets_json());
  (void)draw(run);
  const UnitResult result = run->execute(kTrialStage, {0, 2}, {0, 1}, {executor_, &stored_});
  EXPECT_THAT(values_of<uint8_t>(result.blocks[1]),
              ElementsAre(1, 0, 1, 0, 1, 0, 1, 0, 1, 255, 1, 255, 1, 255, 1, 255));
}

TEST_F(HeadControlsTest, AnyUnitGivesTheSameNumbers) {
  const RunPointer run = bind_run(sets_json());
  (void)draw(run);
  const UnitResult whole = run->execute(kTrialStage, {0, 1}, {0, 4}, {executor_, &stored_});
  std::vector<uint8_t> pieces;
  for (int64_t draw = 0; draw < 4; ++draw) {
    const UnitResult piece =
        run->execute(kTrialStage, {0, 1}, {draw, draw + 1}, {executor_, &stored_});
    pieces.insert(pieces.end(), piece.blocks[0].bytes.begin(), piece.blocks[0].bytes.end());
  }
  EXPECT_EQ(pieces, whole.blocks[0].bytes);
}

TEST_F(HeadControlsTest, StagesArraysAndAttributesSayWhatIsAsked) {
  const RunPointer run = bind_run(sets_json());
  const auto stages = run->stages();
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_TRUE(stages[kDrawStage].decides);
  EXPECT_THAT(stages[kDrawStage].needs, IsEmpty());
  EXPECT_EQ(stages[kTrialStage].needs.at(0).stage, kDrawStage);
  EXPECT_EQ(stages[kTrialStage].first_size, 4);
  std::map<std::string, ArraySpec> arrays;
  for (const ArraySpec& array : run->arrays()) arrays[array.name] = array;
  const auto& axes = arrays.at("controls/loss").axes;
  ASSERT_EQ(axes.size(), 4U);
  EXPECT_EQ(axes[1].name, "random_set");
  EXPECT_THAT(axes[2].labels, ElementsAre("a", "b"));
  EXPECT_THAT(axes[3].labels, ElementsAre("uniform", "layer"));
  EXPECT_TRUE(arrays.at("controls/loss").split_by_first);
  EXPECT_EQ(arrays.at("controls/loss").stage, kTrialStage);
  EXPECT_EQ(arrays.at("controls/correct").type, ElementType::u8);
  EXPECT_EQ(arrays.at("controls/layer").stage, kDrawStage);
  EXPECT_EQ(run->attributes().at("controls_alternative"), "greater");
  EXPECT_EQ(run->attributes().at("controls_chosen"), "allowed");
  Json json = sets_json();
  json["heads"]["all_but"] = true;
  EXPECT_EQ(bind_run(json)->attributes().at("controls_alternative"), "less");
}

TEST_F(HeadControlsTest, CostsAreThoseOfTheDrawnSets) {
  const RunPointer run = bind_run(sets_json());
  (void)draw(run);
  // One set of a, drawn as the controls draw it, tried by name.
  const auto& values = stored_.stages[{"e/m/p", kDrawStage}].arrays;
  Json named = sets_json();
  named.erase("controls");
  named["heads"]["sets"] = Json::object();
  for (int row = 0; row < 4; ++row) {  // [place, match] of draw 2
    Json members = Json::array();
    for (int i = 0; i < 2; ++i)
      if (const auto at = static_cast<size_t>((row * 4 + 2) * 2 + i); values[0].values[at] >= 0)
        members.push_back(fmt::format("L{}H{}", static_cast<int>(values[0].values[at]),
                                      static_cast<int>(values[1].values[at])));
    named["heads"]["sets"][fmt::format("s{}", row)] = members;
  }
  const RunPointer by_name = bind_run(named);
  double expected = 0.0;
  for (int64_t set = 1; set < 4; ++set) expected += by_name->flops(0, 3, set);
  Json first = named;
  first["heads"]["sets"] = {{"a", {"L0H0"}}, {"s", named["heads"]["sets"]["s0"]}};
  expected += bind_run(first)->flops(0, 3, 1);
  EXPECT_DOUBLE_EQ(run->flops(kTrialStage, 3, 2), expected);
  EXPECT_EQ(run->shared_flops(kTrialStage, 3), by_name->shared_flops(0, 3));
  // A forecast runs before anything is drawn.
  executor_.asked.clear();
  const UnitResult forecast = run->execute(kTrialStage, {0, 1}, {0, 4}, executor_);
  EXPECT_EQ(executor_.asked_edits().size(), 16U);
  EXPECT_EQ(forecast.blocks.size(), 2U);
}

TEST_F(HeadControlsTest, AllButTheDrawnHeadsAreRemoved) {
  Json json = sets_json();
  json["heads"] = {{"sets", {{"a", {"L0H0", "L2H1", "L1H0", "L1H1", "L2H0"}}}}, {"all_but", true}};
  json["controls"] = {{"random_k", 3}, {"match", "layer"}};
  const RunPointer run = bind_run(json);
  executor_.asked.clear();
  (void)run->execute(0, {2, 3}, {0, 1}, executor_);
  EXPECT_THAT(executor_.asked_edits(), ElementsAre("clean 7,8|z L0 H1 P1 zero"));
  const StoredStage drawn = draw(run);
  executor_.asked.clear();
  (void)run->execute(kTrialStage, {2, 3}, {0, 3}, {executor_, &stored_});
  ASSERT_EQ(executor_.asked_edits().size(), 3U);
  for (size_t draw = 0; draw < 3; ++draw) {
    ASSERT_EQ(drawn.arrays[0].values[draw * 5], 0);  // one of layer 0, then all others
    EXPECT_EQ(executor_.asked_edits()[draw],
              fmt::format("clean 7,8|z L0 H{} P1 zero", 1 - drawn.arrays[1].values[draw * 5]));
  }
}

TEST_F(HeadControlsTest, WhatCannotBeDrawnIsRefused) {
  Json json = sets_json();
  json["controls"]["chosen"] = "excluded";
  json["heads"]["sets"]["a"] = {"L0H0", "L0H1"};
  EXPECT_THAT(failure([&] { (void)bind_run(json); }),
              HasSubstr("usage: random heads: 2 were chosen in layer 0, but only 0 others"));
  stored_.stages[{"e/m/p", kDrawStage}].missing = {"e/m/p draw (failed)"};
  const RunPointer run = bind_run(sets_json());
  EXPECT_EQ(failure([&] {
              (void)run->execute(kTrialStage, {0, 1}, {0, 1}, {executor_, &stored_});
            }),
            "usage: its random heads were not drawn: e/m/p draw (failed)");
}

TEST_F(HeadControlsTest, ConfigsThatDoNotFitAreProblems) {
  Json json = sets_json();
  json["heads"] = "all";
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("controls: goes with `heads: {top: ...}`")));
  json = sets_json();
  json["positions"] = "each";
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("not with `positions: each`")));
  json = sets_json();
  json["controls"] = {{"random_k", 0}, {"match", {"layer", "layer"}}, {"alternative", "more"}};
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("random_k"), HasSubstr("names 'layer' twice"),
                                          HasSubstr("alternative")));
  json["controls"] = {{"random_k", 2}};
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("match")));
  EXPECT_EQ(ParsedExperiment("head_ablation", sets_json())
                .experiment->parameters("")
                .at("controls")
                .dump(),
            R"({"alternative":"greater","chosen":"allowed","match":["uniform","layer"],)"
            R"("random_k":4})");
}

}  // namespace
}  // namespace mechsweep
