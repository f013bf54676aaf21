#include "experiments/effect_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"
#include "unit/experiments/stored_effects.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::kNaN;
using test_experiments::stored_effects;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsNan;

const Metric* find(const std::vector<Metric>& metrics, const std::string& name) {
  for (const Metric& metric : metrics)
    if (metric.name == name) return &metric;
  return nullptr;
}

std::vector<double> values(const StoredRun& run, const std::string& name) {
  const auto metrics = derive_effects(run);
  const Metric* metric = find(metrics, name);
  return metric == nullptr ? std::vector<double>() : metric->values;
}

// stored_effects has 2 prompts with up to 2 targets, 2 layers and 3 tracked tokens; the numbers
// below are worked out by hand from the tables there.

TEST(EffectMetrics, DeltasAreAgainstTheSamePromptsBase) {
  const StoredRun run = stored_effects();
  EXPECT_THAT(values(run, "delta_loss"),
              ElementsAre(0.5, IsNan(), 0.0, IsNan(), -1.0, 1.0, 2.0, 4.0));
  EXPECT_THAT(values(run, "base_loss"), ElementsAre(1.0, IsNan(), 2.0, 3.0));
  EXPECT_THAT(values(run, "loss"), ElementsAre(1.5, IsNan(), 1.0, IsNan(), 1.0, 4.0, 4.0, 7.0));
}

TEST(EffectMetrics, MarginIsAgainstTheLargestWrongLogitAndNaNWithoutAny) {
  const StoredRun run = stored_effects();
  EXPECT_THAT(values(run, "base_margin"), ElementsAre(2.0, IsNan(), -3.0, IsNan()));
  EXPECT_THAT(values(run, "margin"),
              ElementsAre(1.0, IsNan(), 2.0, IsNan(), -2.0, IsNan(), 0.0, IsNan()));
  EXPECT_THAT(values(run, "delta_margin"),
              ElementsAre(-1.0, IsNan(), 0.0, IsNan(), 1.0, IsNan(), 3.0, IsNan()));
}

TEST(EffectMetrics, NoMarginWhereNothingIsWrong) {
  StoredRun run = stored_effects();
  for (StoredArray& array : run.arrays) {
    if (array.axes.back().name != "tracked") continue;
    array.axes.back().size = 1;
    std::vector<double> answers;
    for (size_t i = 0; i < array.values.size(); i += 3) answers.push_back(array.values[i]);
    array.values = answers;
  }
  const auto metrics = derive_effects(run);
  EXPECT_NE(find(metrics, "delta_loss"), nullptr);
  EXPECT_NE(find(metrics, "logit_0"), nullptr);
  for (const Metric& metric : metrics) {
    EXPECT_EQ(metric.name.find("margin"), std::string::npos) << metric.name;
    EXPECT_NE(metric.name, "logit_1");
  }
}

TEST(EffectMetrics, RecoveryIsNaNWhereDonorAndBaseHardlyDiffer) {
  const StoredRun run = stored_effects();
  // Donor minus base loss: 2, none, 0.05, -2.
  EXPECT_THAT(values(run, "recovery_loss"),
              ElementsAre(0.25, IsNan(), 0.0, IsNan(), IsNan(), -0.5, IsNan(), -2.0));
  const auto metrics = derive_effects(run);
  const Metric& recovery = *find(metrics, "recovery_loss");
  EXPECT_THAT(recovery.numerator, ElementsAre(0.5, IsNan(), 0.0, IsNan(), -1.0, 1.0, 2.0, 4.0));
  EXPECT_THAT(recovery.denominator, ElementsAre(2.0, IsNan(), 2.0, IsNan(), DoubleNear(0.05, 1e-12),
                                                -2.0, DoubleNear(0.05, 1e-12), -2.0));
}

TEST(EffectMetrics, WithoutADonorThereIsNoRecovery) {
  StoredRun run = stored_effects();
  std::erase_if(run.arrays, [](const StoredArray& a) { return a.name.starts_with("donor/"); });
  for (const Metric& metric : derive_effects(run)) {
    EXPECT_FALSE(metric.name.starts_with("recovery")) << metric.name;
    EXPECT_FALSE(metric.name.starts_with("donor")) << metric.name;
  }
}

TEST(EffectMetrics, Top1AndTrackedLogitsAreExportedButNotRanked) {
  const auto metrics = derive_effects(stored_effects());
  const Metric& top1 = *find(metrics, "base_top1");
  EXPECT_THAT(top1.values, ElementsAre(7.0, IsNan(), 8.0, 9.0));
  EXPECT_FALSE(top1.summarised);
  EXPECT_THAT(find(metrics, "base_logit_2")->values, ElementsAre(1.0, IsNan(), IsNan(), IsNan()));
  std::vector<std::string> headlines;
  for (const Metric& metric : metrics)
    if (metric.headline) headlines.push_back(metric.name);
  EXPECT_THAT(headlines,
              ElementsAre("delta_loss", "delta_margin", "recovery_loss", "recovery_margin"));
  EXPECT_EQ(find(metrics, "delta_loss")->cells(), 4);
}

TEST(EffectMetrics, DamagedFilesAreRefused) {
  StoredRun missing = stored_effects();
  std::erase_if(missing.arrays, [](const StoredArray& array) { return array.name == "base/loss"; });
  EXPECT_EQ(failure([&] { derive_effects(missing); }),
            "input: run 'e/m/p' has no dataset 'base/loss': the file is damaged");
  StoredRun shorter = stored_effects();
  for (StoredArray& array : shorter.arrays)
    if (array.name == "logit") array.values.pop_back();
  EXPECT_EQ(failure([&] { derive_effects(shorter); }),
            "input: run 'e/m/p': the sizes of its 'loss' datasets do not go together: the file is "
            "damaged");
}

TEST(EffectMetrics, AnswerRankAndKlAreThereWhereStored) {
  StoredRun run = stored_effects();
  const auto axes = run.find("loss")->axes;
  const double n = kNaN;
  run.arrays.push_back({"answer_rank", axes, {4, -1, 3, -1, 0, 1, 2, 3}});
  run.arrays.push_back({"kl_base", axes, {0.5, n, 0.25, n, 0, 1, 2, 3}});
  run.arrays.push_back({"kl_donor", axes, {1.5, n, 1.25, n, 1, 1, 2, 3}});
  run.arrays.push_back({"base/answer_rank", run.find("base/loss")->axes, {1, -1, 0, 2}});
  EXPECT_THAT(values(run, "answer_rank"), ElementsAre(4, IsNan(), 3, IsNan(), 0, 1, 2, 3));
  EXPECT_THAT(values(run, "base_answer_rank"), ElementsAre(1, IsNan(), 0, 2));
  EXPECT_THAT(values(run, "kl_base"), ElementsAre(0.5, IsNan(), 0.25, IsNan(), 0, 1, 2, 3));
  EXPECT_THAT(values(run, "kl_donor"), ElementsAre(1.5, IsNan(), 1.25, IsNan(), 1, 1, 2, 3));
  const auto metrics = derive_effects(run);
  for (const char* name : {"answer_rank", "kl_base", "kl_donor"}) {
    EXPECT_TRUE(find(metrics, name)->summarised) << name;
    EXPECT_FALSE(find(metrics, name)->headline) << name;
  }
  run.arrays.back().values.pop_back();
  EXPECT_EQ(
      failure([&] { derive_effects(run); }),
      "input: run 'e/m/p': the sizes of its 'base/loss' datasets do not go together: the file "
      "is damaged");
}

std::vector<int> broken(const StoredRun& run, const std::string& name) {
  const auto metrics = derive_effects(run);
  const auto& flags = find(metrics, name)->broken;
  return {flags.begin(), flags.end()};
}

StoredArray& array(StoredRun& run, const std::string& name) {
  for (StoredArray& one : run.arrays)
    if (one.name == name) return one;
  fail(ErrorKind::internal, "there is no array {}", name);
}

TEST(EffectMetrics, WhatDoesNotApplyIsNotBroken) {
  // The first prompt has one target of two, the second target of the other no wrong answers.
  for (const Metric& metric : derive_effects(stored_effects()))
    EXPECT_EQ(std::count(metric.broken.begin(), metric.broken.end(), 1), 0) << metric.name;
}

TEST(EffectMetrics, NumbersThatAreNoneAreBrokenWhereverTheyEnter) {
  StoredRun run = stored_effects();
  array(run, "loss").values[4] = kNaN;  // prompt b, layer 0, first target
  array(run, "loss").values[2] = std::numeric_limits<double>::infinity();  // prompt a, layer 1
  EXPECT_THAT(broken(run, "loss"), ElementsAre(0, 0, 1, 0, 1, 0, 0, 0));
  EXPECT_THAT(broken(run, "delta_loss"), ElementsAre(0, 0, 1, 0, 1, 0, 0, 0));
  EXPECT_THAT(broken(run, "base_loss"), ElementsAre(0, 0, 0, 0));
  run = stored_effects();
  array(run, "base/loss").values[2] = kNaN;  // the base of both layers of prompt b
  EXPECT_THAT(broken(run, "delta_loss"), ElementsAre(0, 0, 0, 0, 1, 0, 1, 0));
  EXPECT_THAT(broken(run, "loss"), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  run = stored_effects();
  array(run, "donor/loss").values[0] = kNaN;
  EXPECT_THAT(broken(run, "recovery_loss"), ElementsAre(1, 0, 1, 0, 0, 0, 0, 0));
  EXPECT_THAT(broken(run, "delta_loss"), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  run = stored_effects();
  array(run, "logit").values[1] = kNaN;  // a wrong token of prompt a, layer 0
  EXPECT_THAT(broken(run, "margin"), ElementsAre(1, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(broken(run, "logit_1"), ElementsAre(1, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(broken(run, "logit_0"), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(EffectMetrics, PositionsPastThePromptsEndAreNotBroken) {
  StoredRun run = stored_effects();
  for (StoredArray& one : run.arrays)
    for (Axis& axis : one.axes)
      if (axis.name == "layer") axis = {.name = "position", .size = 2};
  run.prompt_lengths = {1, 2};
  array(run, "loss").values = {kNaN, kNaN, kNaN, kNaN, 1, kNaN, 4, 7};
  // Prompt a has position 0 only; both positions of prompt b are there.
  EXPECT_THAT(broken(run, "loss"), ElementsAre(1, 0, 0, 0, 0, 1, 0, 0));
}

TEST(TaskPerformance, MeansAreOverTargetsThenPrompts) {
  const TaskPerformance task = task_performance(stored_effects());
  EXPECT_DOUBLE_EQ(task.base_loss, (1.0 + (2.0 + 3.0) / 2) / 2);
  // The answers are 7, 5 and 9; top1 is 7, 8 and 9.
  EXPECT_DOUBLE_EQ(task.base_accuracy, (1.0 + (0.0 + 1.0) / 2) / 2);
  // One target has no wrong answers, so chance is that of the vocabulary of 50.
  EXPECT_FALSE(task.has_candidates);
  EXPECT_DOUBLE_EQ(task.chance_loss, std::log(50.0));
  EXPECT_DOUBLE_EQ(task.chance_accuracy, 1.0 / 50);
  EXPECT_DOUBLE_EQ(task.candidate_accuracy, 0.5);
  EXPECT_FALSE(task.fails());
}

TEST(TaskPerformance, ChanceIsAmongTheTrackedTokensWhereAllHaveWrongOnes) {
  StoredRun run = stored_effects();
  for (StoredArray& array : run.arrays) {
    if (array.name == "base/loss") array.values[3] = kNaN;  // the target without wrong answers
    if (array.name == "base/loss") array.values[0] = 9.0;   // most of it on other tokens
  }
  const TaskPerformance task = task_performance(run);
  EXPECT_TRUE(task.has_candidates);
  EXPECT_DOUBLE_EQ(task.chance_loss, std::log(2.5));  // 3 and 2 tokens
  // Logits 3, 0, 1 and 1, 4.
  const double first = std::log(1 + std::exp(-3.0) + std::exp(-2.0));
  const double second = std::log(1 + std::exp(3.0));
  EXPECT_NEAR(task.candidate_loss, (first + second) / 2, 1e-12);
  EXPECT_GT(task.candidate_loss, task.chance_loss);
  EXPECT_TRUE(task.fails());
  EXPECT_DOUBLE_EQ(task.candidate_accuracy, 0.5);
}

TEST(TaskPerformance, IncompletePromptsDoNotCount) {
  StoredRun run = stored_effects();
  run.complete = {1, 0};
  const TaskPerformance task = task_performance(run);
  EXPECT_DOUBLE_EQ(task.base_loss, 1.0);
  EXPECT_TRUE(task.has_candidates);
  EXPECT_FALSE(task.fails());
}

TEST(TaskPerformance, IsOfTheCleanRunEvenIfThatIsTheDonor) {
  StoredRun run = stored_effects();
  run.attributes["base"] = "corrupt";
  EXPECT_DOUBLE_EQ(task_performance(run).base_loss, (3.0 + (2.05 + 1.0) / 2) / 2);
}

}  // namespace
}  // namespace mechsweep
