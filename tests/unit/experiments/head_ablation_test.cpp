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
using test_experiments::values_of;
using testing::ElementsAre;

class HeadAblationTest : public testing::Test {
 protected:
  RunPointer bind_run(const Json& json) {
    return ParsedExperiment("head_ablation", json).bind(model_, prompts_);
  }
  std::vector<std::string> problems(const Json& json) {
    return ParsedExperiment("head_ablation", json).problems.lines();
  }
  /// What is asked of the executor for the edits of some prompts, head L1H0 first.
  std::vector<std::string> asked(const Json& json, Range prompts) {
    const RunPointer run = bind_run(json);
    executor_.asked.clear();
    run->execute(0, prompts, {0, 1}, executor_);
    return executor_.asked_edits();
  }

  ModelConfig model_ = small_model(2, 2);
  PromptSet prompts_ = template_prompts();
  SpellingExecutor executor_{model_};
  const Json one_head_ = {{"positions", {-1}}, {"heads", {"L1H0"}}};

  Json with(const std::string& key, const Json& value) const {
    Json json = one_head_;
    json[key] = value;
    return json;
  }
};

TEST_F(HeadAblationTest, EveryOperationIsAskedForAsItsNameSays) {
  EXPECT_THAT(asked(with("operation", "zero"), {2, 3}), ElementsAre("clean 7,8|z L1 H0 P1 zero"));
  EXPECT_THAT(asked(with("operation", "value_bias"), {2, 3}),
              ElementsAre("clean 7,8|z L1 H0 P1 value_bias"));
  prompts_.prompts.push_back(prompts_.prompts[2]);
  prompts_.prompts.back().tokens = {17, 18};
  EXPECT_THAT(asked(with("operation", "resample"), {5, 6}),
              ElementsAre("clean 17,18|z L1 H0 P1 replace clean 7,8"));
}

TEST_F(HeadAblationTest, MeansLeaveTheOwnRunOut) {
  (void)asked(with("operation", "mean"), {1, 2});
  // The sums' runs come first, all prompts of the template, then the base and the edit with their
  // counts.
  EXPECT_THAT(executor_.asked,
              ElementsAre("clean 1,2,3", "clean 4,5,6", "clean 7,8", "clean 4,5,6",
                          "clean 4,5,6|z L1 H0 P2 mean of 3,3,2 without clean 4,5,6"));
  Json all = with("operation", "mean");
  all["mean_over"] = "all";
  EXPECT_THAT(asked(all, {1, 2}).back(),
              "clean 4,5,6|z L1 H0 P2 mean of 5,5,4,2 without clean 4,5,6");
}

TEST_F(HeadAblationTest, MeansAreComputedOnceForARun) {
  const RunPointer run = bind_run(with("operation", "mean"));
  run->execute(0, {0, 2}, {0, 1}, executor_);
  EXPECT_EQ(executor_.calls, 2);  // sums, then both prompts
  run->execute(0, {2, 3}, {0, 1}, executor_);
  EXPECT_EQ(executor_.calls, 3);
}

TEST_F(HeadAblationTest, DrawsAreAnAxis) {
  Json json = with("operation", "resample");
  json["draws"] = 3;
  prompts_ = ragged_prompts();
  prompts_.prompts.assign(4, prompts_.prompts[0]);
  for (int p = 0; p < 4; ++p) prompts_.prompts[p].tokens = {p, 50};
  const RunPointer run = bind_run(json);
  const Axis axis = run->arrays().back().axes.back();
  EXPECT_EQ(axis.name, "draw");
  EXPECT_EQ(axis.size, 3);
  run->execute(0, {1, 2}, {0, 1}, executor_);
  std::vector<std::string> expected;
  for (uint64_t draw = 0; draw < 3; ++draw) {
    const uint32_t drawn = RandomStream(7, "resample/e/m/p/1", draw).below(3);
    expected.push_back(
        fmt::format("clean 1,50|z L1 H0 P1 replace clean {},50", drawn >= 1 ? drawn + 1 : drawn));
  }
  EXPECT_EQ(executor_.asked_edits(), expected);
}

TEST_F(HeadAblationTest, ARunsDonorIsAsComputedInAnotherUnit) {
  // A donor outside the unit's prompts is passed along with them, one inside is not passed twice.
  prompts_.prompts.resize(2);
  const RunPointer run = bind_run(with("operation", "resample"));
  run->execute(0, {0, 2}, {0, 1}, executor_);
  const auto together = executor_.asked_edits();
  EXPECT_THAT(together, ElementsAre("clean 1,2,3|z L1 H0 P2 replace clean 4,5,6",
                                    "clean 4,5,6|z L1 H0 P2 replace clean 1,2,3"));
  executor_.asked.clear();
  run->execute(0, {1, 2}, {0, 1}, executor_);
  EXPECT_THAT(executor_.asked_edits(), ElementsAre(together[1]));
}

TEST_F(HeadAblationTest, OperationsAreAnAxisInTheirOrder) {
  prompts_.prompts.resize(2);
  const auto all = asked(with("operation", {"resample", "zero", "mean"}), {0, 1});
  EXPECT_THAT(
      all, ElementsAre("clean 1,2,3|z L1 H0 P2 replace clean 4,5,6", "clean 1,2,3|z L1 H0 P2 zero",
                       "clean 1,2,3|z L1 H0 P2 mean of 2,2,2 without clean 1,2,3"));
}

TEST_F(HeadAblationTest, CostCountsTheDonorsOfADraw) {
  Json json = with("operation", "zero");
  const double base = bind_run(json)->shared_flops(0, 0);
  json = with("operation", "resample");
  prompts_.prompts.resize(2);
  EXPECT_EQ(bind_run(json)->shared_flops(0, 0), 2 * base);
}

TEST_F(HeadAblationTest, EstimandAndDefinitionsAreStored) {
  Json json = with("operation", {"zero", "mean"});
  json["mean_over"] = "all";
  json["downstream"] = "freeze";
  const Json attributes = bind_run(json)->attributes();
  EXPECT_EQ(attributes.at("estimand"),
            "z of one head ablated (zero, mean) at positions [-1], everything else frozen (direct "
            "effects)");
  EXPECT_EQ(attributes.at("downstream"), "freeze");
  EXPECT_EQ(attributes.at("mean_over"), "all");
  EXPECT_TRUE(attributes.contains("definition_zero"));
  EXPECT_TRUE(attributes.contains("definition_mean"));
  EXPECT_FALSE(attributes.contains("definition_resample"));
  EXPECT_EQ(bind_run(with("operation", "zero"))->attributes().at("estimand"),
            "z of one head zeroed at positions [-1], downstream recomputed");
}

TEST_F(HeadAblationTest, ParametersAreInCanonicalForm) {
  Json json = with("operation", {"mean", "resample"});
  const auto parsed = ParsedExperiment("head_ablation", json);
  EXPECT_EQ(parsed.experiment->parameters("").dump(),
            R"({"downstream":"recompute","draws":1,"heads":["L1H0"],"layers":"all",)"
            R"("mean_over":"template","operation":["mean","resample"],"positions":[-1],)"
            R"("readouts":[],"top_k":0})");
}

TEST_F(HeadAblationTest, KeysThatDoNotGoTogetherAreNamed) {
  Json json = with("operation", "zero");
  json["mean_over"] = "all";
  json["draws"] = 2;
  EXPECT_THAT(problems(json),
              ElementsAre("s.yaml:12:5: mean_over: goes with the operation mean only",
                          "s.yaml:10:5: draws: goes with the operation resample only"));
  json = with("operation", {"zero", "resample"});
  json["draws"] = 2;
  EXPECT_THAT(problems(json),
              ElementsAre("s.yaml:10:5: draws: more than one draw needs an experiment of its own, "
                          "with `operation: resample` alone"));
  json["draws"] = 1;
  EXPECT_THAT(problems(json), ElementsAre());
  EXPECT_THAT(problems(with("operation", {"zero", "means", "zero"})),
              ElementsAre("s.yaml:11:21: operation[1]: unknown value 'means'; did you mean 'mean'? "
                          "(known: zero, value_bias, mean, resample)",
                          "s.yaml:11:22: operation[2]: names 'zero' twice"));
}

TEST_F(HeadAblationTest, PromptsWithoutDonorsOrSourcesAreNamedWhenBound) {
  EXPECT_EQ(failure([&] { bind_run(with("operation", "resample")); }),
            "input: prompt 'c' of set 'p' is the only one of 2 tokens, so `resample` has no donor "
            "for it; add prompts of that length, or use another operation");
  prompts_.prompts.pop_back();
  EXPECT_EQ(failure([&] { bind_run(with("operation", "mean")); }),
            "input: prompt 'd' of set 'p' has no other prompt of its template with 1 tokens or "
            "more, so there is no mean for its position 3; use `mean_over: all`, add such prompts, "
            "or edit later positions only");
}

}  // namespace
}  // namespace mechsweep
