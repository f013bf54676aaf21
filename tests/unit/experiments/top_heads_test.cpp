#include "experiments/top_heads.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stats/split.h"
#include "unit/experiments/stored_stage_support.h"

namespace mechsweep {
namespace {

using namespace test_experiments;  // NOLINT(google-build-using-namespace): all of it is for this
using testing::ElementsAre;
using testing::HasSubstr;

const double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A source run `s` and a run that takes its heads from it, on six prompts of three templates.
class TopHeadsTest : public testing::Test {
 protected:
  TopHeadsTest() {
    for (int p = 0; p < 6; ++p) {
      Prompt prompt{.id = fmt::format("p{}", p),
                    .tokens = {p, p + 1, p + 2},
                    .template_label = fmt::format("t{}", p / 2)};
      prompt.targets = {{.at = 2, .answer = 20, .wrong = {21}}};
      prompts_.prompts.push_back(std::move(prompt));
    }
    bind_source({{"operation", "zero"}, {"positions", "all"}});
  }

  void bind_source(const Json& json, const std::string& kind = "head_ablation") {
    source_ = ParsedExperiment(kind, json).bind(model_, prompts_);
    source_kind_ = kind;
  }
  RunPointer bind_top(const Json& json) {
    ParsedExperiment parsed("head_ablation", json);
    parsed.earlier_run = [this](const std::string& id) {
      return id == "s/m/p" ? SourceRun{source_.get(), source_kind_} : SourceRun{};
    };
    return parsed.bind(model_, prompts_);
  }
  std::string bind_failure(const Json& json) {
    return failure([&] { (void)bind_top(json); });
  }

  /// Computes the whole source run.
  void compute_source() {
    const StageSpec stage = source_->stages()[0];
    const UnitResult result = source_->execute(0, {0, 6}, {0, stage.first_size}, executor_);
    stored_.stages[{"s/m/p", 0}] = stored_stage(*source_, 0, result);
  }
  /// Lets the source have these losses, [prompt, layer, head], and base losses of 0.
  void set_losses(const std::vector<double>& losses) {
    compute_source();
    for (StoredArray& array : stored_.stages[{"s/m/p", 0}].arrays) {
      if (array.name == "loss") array.values = losses;
      if (array.name == "base/loss") array.values.assign(array.values.size(), 0.0);
    }
  }
  /// The same losses for every prompt.
  void set_losses_of_heads(const std::vector<double>& losses) {
    std::vector<double> all;
    for (int p = 0; p < 6; ++p) all.insert(all.end(), losses.begin(), losses.end());
    set_losses(all);
  }
  /// Decides, and keeps what was decided.
  std::vector<std::string> decide(const RunPointer& run) {
    stored_.stages[{"e/m/p", 0}] = stored_stage(*run, 0, run->decide(0, stored_));
    std::vector<std::string> names;
    for (const ChosenHead& chosen :
         stored_selection({.arrays = stored_.stages[{"e/m/p", 0}].arrays}))
      names.push_back(chosen.head.text());
    return names;
  }
  std::vector<double> decided(const std::string& name) {
    StoredRun run{.arrays = stored_.stages[{"e/m/p", 0}].arrays};
    return run.find(name)->values;
  }

  ModelConfig model_ = small_model(3, 2);
  PromptSet prompts_{.id = "p", .kind = "file"};
  SpellingExecutor executor_{model_};
  RunPointer source_;
  std::string source_kind_;
  KeptResults stored_;
};

/// Ranks heads by hand, with the definition of halves in src/stats/split.h.
TEST_F(TopHeadsTest, TheLargestMeansOfTheHalfAreChosen) {
  compute_source();
  const RunPointer run = bind_top(top_json());
  const auto chosen = decide(run);

  const std::vector<int> clusters = {0, 0, 1, 1, 2, 2};
  const HalfSplit halves = split_halves(clusters, 7, "halves/p");
  ASSERT_FALSE(halves.half_a.empty());
  ASSERT_FALSE(halves.half_b.empty());
  const StoredRun source{.arrays = stored_.stages[{"s/m/p", 0}].arrays};
  std::vector<std::pair<double, std::string>> expected;
  for (int layer = 0; layer < 3; ++layer)
    for (int head = 0; head < 2; ++head) {
      double sum = 0.0;
      for (const int64_t p : halves.half_a)
        sum += source.find("loss")->values[(p * 3 + layer) * 2 + head] -
               source.find("base/loss")->values[p];
      expected.emplace_back(-sum / static_cast<double>(halves.half_a.size()),
                            fmt::format("L{}H{}", layer, head));
    }
  std::sort(expected.begin(), expected.end());
  ASSERT_EQ(chosen.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(chosen[i], expected[i].second) << i;
    EXPECT_EQ(decided("selection/score")[i], -expected[i].first) << i;
  }
  for (int64_t p = 0; p < 6; ++p) {
    const bool in_a = std::ranges::find(halves.half_a, p) != halves.half_a.end();
    EXPECT_EQ(decided("selection/chosen_on")[p], in_a ? 1.0 : 0.0);
    EXPECT_EQ(decided("selection/evaluated_on")[p], in_a ? 0.0 : 1.0);
  }
}

TEST_F(TopHeadsTest, EqualScoresGoByLayerThenHead) {
  set_losses_of_heads({0.0, 2.0, 2.0, -0.0, 2.0, 5.0});
  EXPECT_THAT(decide(bind_top(top_json({6}))),
              ElementsAre("L2H1", "L0H1", "L1H0", "L2H0", "L0H0", "L1H1"));
}

TEST_F(TopHeadsTest, ANegatedMetricTakesTheSmallest) {
  set_losses_of_heads({0.0, 2.0, 1.0, -3.0, 2.5, 5.0});
  Json json = top_json({2});
  json["heads"]["top"]["by"] = "mean(-delta_loss)";
  EXPECT_THAT(decide(bind_top(json)), ElementsAre("L1H1", "L0H0"));
  EXPECT_EQ(decided("selection/score")[0], 3.0);
}

TEST_F(TopHeadsTest, HeadsBelowTheLeastScoreAreNotChosenAndTheirNumbersAreLeftOut) {
  set_losses_of_heads({0.0, 2.0, 0.25, 0.125, 0.0, 5.0});
  Json json = top_json({1, 3, 4});
  json["heads"]["top"]["at_least"] = 0.25;
  const RunPointer run = bind_top(json);
  EXPECT_THAT(decide(run), ElementsAre("L2H1", "L0H1", "L1H0"));
  EXPECT_THAT(decided("selection/layer"), ElementsAre(2, 0, 1, -1));
  EXPECT_TRUE(std::isnan(decided("selection/score")[3]));
  EXPECT_TRUE(run->stages()[1].may_skip);
  EXPECT_FALSE(run->is_left_out(1, {0, 1}, stored_));
  EXPECT_FALSE(run->is_left_out(1, {1, 2}, stored_));
  EXPECT_TRUE(run->is_left_out(1, {2, 3}, stored_));
  EXPECT_FALSE(run->is_left_out(1, {1, 3}, stored_));
}

TEST_F(TopHeadsTest, WithoutALeastScoreNothingIsLeftOut) {
  set_losses_of_heads({0.0, -2.0, -3.0, -4.0, -5.0, -6.0});
  const RunPointer run = bind_top(top_json({6}));
  EXPECT_EQ(decide(run).size(), 6U);
  EXPECT_FALSE(run->stages()[1].may_skip);
  EXPECT_FALSE(run->is_left_out(1, {0, 1}, stored_));
}

TEST_F(TopHeadsTest, ChosenHeadsAreRemovedTogetherOnTheOtherHalfOnly) {
  set_losses_of_heads({0.0, 2.0, 0.5, 0.125, 0.0, 5.0});
  const RunPointer run = bind_top(top_json({1, 3}));
  decide(run);
  const auto evaluated = decided("selection/evaluated_on");
  executor_.asked.clear();
  const UnitResult result = run->execute(1, {0, 6}, {0, 2}, {executor_, &stored_});
  std::vector<std::string> expected;
  for (int p = 0; p < 6; ++p) {
    if (evaluated[p] == 0.0) continue;
    expected.push_back(fmt::format("clean {},{},{}|z L2 H1 P0,1,2 zero", p, p + 1, p + 2));
    expected.push_back(
        fmt::format("clean {},{},{}|z L0 H1 P0,1,2 zero|z L1 H0 P0,1,2 zero|z L2 H1 P0,1,2 zero", p,
                    p + 1, p + 2));
  }
  EXPECT_EQ(executor_.asked_edits(), expected);
  // Nothing at all is computed of the other prompts, and nothing of them is missing.
  const StoredStage stage = stored_stage(*run, 1, result);
  const StoredRun stored{.arrays = stage.arrays};
  for (int p = 0; p < 6; ++p) {
    EXPECT_EQ(std::isnan(stored.find("base/loss")->values[p]), evaluated[p] == 0.0);
    EXPECT_EQ(std::isnan(stored.find("loss")->values[2 * p]), evaluated[p] == 0.0);
    EXPECT_EQ(stored.find("base/tracked_token")->values[2 * p], evaluated[p] == 0.0 ? -1 : 20);
  }
  EXPECT_EQ(result.non_finite, 0);
}

TEST_F(TopHeadsTest, TheSameNumbersAsOfSetsWithTheSameHeads) {
  set_losses_of_heads({0.0, 2.0, 0.5, 0.125, 0.0, 5.0});
  for (const char* operation : {"zero", "mean", "value_bias", "resample"}) {
    Json json = top_json({1, 3});
    json["operation"] = operation;
    json["evaluate"] = "all";
    const RunPointer run = bind_top(json);
    decide(run);
    json["heads"] = {{"sets", {{"a", {"L2H1"}}, {"b", {"L2H1", "L0H1", "L1H0"}}}}};
    json.erase("evaluate");
    const RunPointer sets = bind_top(json);
    const UnitResult chosen = run->execute(1, {0, 6}, {0, 2}, {executor_, &stored_});
    const UnitResult named = sets->execute(0, {0, 6}, {0, 2}, executor_);
    ASSERT_EQ(chosen.blocks.size(), named.blocks.size());
    for (size_t i = 0; i < named.blocks.size(); ++i)
      EXPECT_EQ(chosen.blocks[i].bytes, named.blocks[i].bytes) << operation << " " << i;
  }
}

TEST_F(TopHeadsTest, UnitsOfEarlierStagesThatAreNotDoneAreNamed) {
  compute_source();
  const RunPointer run = bind_top(top_json());
  stored_.stages[{"s/m/p", 0}].missing = {"s/m/p edited prompts 0..1 (failed)"};
  EXPECT_EQ(failure([&] { (void)run->decide(0, stored_); }),
            "usage: no heads are chosen, since 1 of the units of run 's/m/p' that the choice is "
            "made from is not done: s/m/p edited prompts 0..1 (failed)");
  for (int i = 0; i < 7; ++i) stored_.stages[{"s/m/p", 0}].missing.push_back("u (quarantined)");
  EXPECT_THAT(failure([&] { (void)run->decide(0, stored_); }),
              HasSubstr("since 8 of the units of run 's/m/p' that the choice is made from are not "
                        "done: s/m/p edited prompts 0..1 (failed); u (quarantined); u "
                        "(quarantined); u (quarantined); u (quarantined); and 3 more"));
  stored_.stages[{"e/m/p", 0}].missing = {"e/m/p decide (failed)"};
  for (const auto& call : std::vector<std::function<void()>>{
           [&] {
             (void)run->execute(1, {0, 6}, {0, 3}, {executor_, &stored_});
           },
           [&] {
             Json json = top_json();
             json["heads"]["top"]["at_least"] = 0.0;
             (void)bind_top(json)->is_left_out(1, {0, 1}, stored_);
           }})
    EXPECT_EQ(failure(call), "usage: its heads were not chosen: e/m/p decide (failed)");
}

TEST_F(TopHeadsTest, NumbersThatAreNoneDecideNothing) {
  std::vector<double> losses(36, 1.0);
  const auto in_a = prompts_of_half(PromptHalf::half_a, prompts_, 7);
  const auto first_of = [&](uint8_t half) { return std::ranges::find(in_a, half) - in_a.begin(); };
  losses[6 * first_of(0) + 3] = kNaN;  // in the other half: never looked at
  set_losses(losses);
  const RunPointer run = bind_top(top_json());
  EXPECT_THAT(decide(run), ElementsAre("L0H0", "L0H1", "L1H0", "L1H1"));
  for (const double bad : {kNaN, std::numeric_limits<double>::infinity()}) {
    losses[6 * first_of(1) + 3] = bad;
    set_losses(losses);
    EXPECT_THAT(failure([&] { (void)run->decide(0, stored_); }),
                HasSubstr("since 'delta_loss' of run 's/m/p' has numbers that are NaN or infinite, "
                          "or none at all, for L1H1 (1 broken)"));
  }
}

TEST_F(TopHeadsTest, TargetsAndDrawsAreAveragedWithinAPrompt) {
  // Two draws; the second prompt of each template has two targets.
  for (size_t p = 1; p < 6; p += 2)
    prompts_.prompts[p].targets.push_back({.at = 1, .answer = 22, .wrong = {23}});
  bind_source({{"operation", "resample"}, {"draws", 2}, {"positions", "all"}, {"heads", {"L1H0"}}});
  compute_source();
  auto& arrays = stored_.stages[{"s/m/p", 0}].arrays;
  std::vector<double> expected;
  for (StoredArray& array : arrays) {
    if (array.name == "base/loss")
      for (double& value : array.values) value = std::isnan(value) ? value : 0.0;
    if (array.name != "loss") continue;
    for (size_t p = 0; p < 6; ++p) {
      const bool two = p % 2 == 1;
      const auto at = static_cast<double>(p);  // [prompt, head, draw, target]
      const std::vector<double> own = {at, two ? at + 1 : kNaN, 10 * at, two ? 10 * at + 3 : kNaN};
      std::copy(own.begin(), own.end(), array.values.begin() + static_cast<long>(4 * p));
      expected.push_back(two ? ((at + at + 1) / 2 + (20 * at + 3) / 2) / 2 : (at + 10 * at) / 2);
    }
  }
  Json json = top_json({1});
  json["heads"]["top"]["on"] = "all";
  EXPECT_THAT(decide(bind_top(json)), ElementsAre("L1H0"));
  EXPECT_DOUBLE_EQ(decided("selection/score")[0],
                   std::accumulate(expected.begin(), expected.end(), 0.0) / 6.0);
}

TEST_F(TopHeadsTest, AttentionScoresChooseHeadsAsWell) {
  bind_source({{"scores", {"previous_token"}}}, "attention_scores");
  const UnitResult result = source_->execute(0, {0, 6}, {0, 0}, executor_);
  stored_.stages[{"s/m/p", 0}] = stored_stage(*source_, 0, result);
  Json json = top_json({2});
  json["heads"]["top"]["by"] = "mean(previous_token)";
  // The spelling executor's attention grows with layer and head.
  EXPECT_THAT(decide(bind_top(json)), ElementsAre("L2H1", "L2H0"));
}

TEST_F(TopHeadsTest, AxesStagesAndAttributesSayWhatIsAsked) {
  Json json = top_json({4, 1});
  json["operation"] = {"zero", "value_bias"};
  const RunPointer run = bind_top(json);
  const auto stages = run->stages();
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_TRUE(stages[0].decides);
  ASSERT_EQ(stages[0].needs.size(), 1U);
  EXPECT_EQ(stages[0].needs[0].run_id, "s/m/p");
  EXPECT_EQ(stages[1].first_size, 2);
  ASSERT_EQ(stages[1].needs.size(), 1U);
  EXPECT_EQ(stages[1].needs[0].run_id, "");
  EXPECT_EQ(stages[1].needs[0].stage, 0);
  std::map<std::string, ArraySpec> arrays;
  for (const ArraySpec& array : run->arrays()) arrays[array.name] = array;
  const ArraySpec& loss = arrays.at("loss");
  EXPECT_EQ(loss.stage, 1);
  ASSERT_EQ(loss.axes.size(), 3U);
  EXPECT_EQ(loss.axes[1].name, "k");
  EXPECT_THAT(loss.axes[1].coordinates, ElementsAre(1, 4));
  EXPECT_EQ(loss.axes[2].name, "operation");
  EXPECT_EQ(arrays.at("selection/layer").stage, 0);
  EXPECT_THAT(arrays.at("selection/layer").axes[0].coordinates, ElementsAre(1, 2, 3, 4));
  const Json attributes = run->attributes();
  EXPECT_EQ(attributes["estimand"],
            "z of the k heads with the largest mean(delta_loss) in run 's/m/p' on half_a, together "
            "ablated (zero, value_bias) at all positions, downstream recomputed, tried on half_b");
  EXPECT_EQ(attributes["selected_from"], "s/m/p");
  EXPECT_EQ(attributes["selected_by"], "mean(delta_loss)");
  EXPECT_EQ(attributes["held_out"], true);
  json["evaluate"] = "all";
  EXPECT_EQ(bind_top(json)->attributes()["held_out"], false);
}

TEST_F(TopHeadsTest, CostsAreThoseOfTheDearestHeadsOnThePromptsThatAreTried) {
  const RunPointer run = bind_top(top_json({1, 3}));
  const auto tried = prompts_of_half(PromptHalf::half_b, prompts_, 7);
  Json json = {{"operation", "zero"},
               {"positions", "all"},
               {"heads", {{"sets", {{"a", {"L0H0"}}, {"b", {"L0H0", "L0H1", "L1H0"}}}}}}};
  const RunPointer sets = bind_top(json);
  for (int64_t p = 0; p < 6; ++p)
    for (int64_t k = 0; k < 2; ++k) {
      EXPECT_EQ(run->flops(1, p, k), tried[p] != 0 ? sets->flops(0, p, k) : 0.0);
      EXPECT_EQ(run->shared_flops(1, p), tried[p] != 0 ? sets->shared_flops(0, p) : 0.0);
    }
  // A forecast runs before anything is chosen.
  executor_.asked.clear();
  (void)run->execute(1, {0, 6}, {0, 1}, executor_);
  for (const std::string& task : executor_.asked_edits())
    EXPECT_THAT(task, HasSubstr("|z L0 H0 P"));
}

TEST_F(TopHeadsTest, WhatCannotBeChosenFromIsRefusedAtPlanTime) {
  Json json = top_json();
  json["heads"]["top"]["from"] = "x";
  EXPECT_EQ(bind_failure(json),
            "usage: `heads.top.from` is 'x', but there is no run 'x/m/p' above this one: name an "
            "experiment that stands above it and has the same model and prompts");
  json = top_json();
  json["heads"]["top"]["by"] = "mean(delta_los)";
  EXPECT_THAT(bind_failure(json), HasSubstr("usage: `heads.top.by` names 'delta_los', which run "
                                            "'s/m/p' does not have (did you mean 'delta_loss'?); "
                                            "it has: delta_loss, delta_margin, loss"));
  EXPECT_EQ(bind_failure(top_json({7})),
            "usage: `heads.top.k` asks for 7 heads, but run 's/m/p' has 6 to choose from");
  bind_source({{"operation", {"zero", "value_bias"}}, {"positions", "all"}});
  EXPECT_THAT(bind_failure(top_json()),
              HasSubstr("which has a number of each head for every operation; name an experiment"));
  bind_source({{"operation", "zero"}, {"positions", "each"}});
  EXPECT_THAT(bind_failure(top_json()), HasSubstr("for every position"));
  bind_source(
      {{"operation", "zero"}, {"positions", "all"}, {"heads", {{"sets", {{"a", {"L0H0"}}}}}}});
  EXPECT_THAT(bind_failure(top_json({1})),
              HasSubstr("cannot choose heads by 'delta_loss' of run 's/m/p', which is not a number "
                        "of each query head"));
  prompts_.prompts.resize(2);
  bind_source({{"operation", "zero"}, {"positions", "all"}});
  EXPECT_THAT(bind_failure(top_json()),
              HasSubstr("input: prompts 'p': half_a and half_b need prompts of at least two "
                        "templates"));
}

}  // namespace
}  // namespace mechsweep
