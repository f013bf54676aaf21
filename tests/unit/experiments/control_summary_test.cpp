#include "experiments/control_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"
#include "unit/experiments/stored_effects.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::kNaN;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsNan;

/// Three prompts, of which the last has one target instead of two; one set, three draws, one match.
StoredRun stored_controls() {
  const Axis prompt{.name = "prompt", .size = 3};
  const Axis target{.name = "target", .size = 2};
  const Axis tracked{.name = "tracked", .size = 1};
  const Axis set{.name = "set", .size = 1, .labels = {"a"}};
  const Axis draws{.name = "random_set", .size = 3};
  const Axis match{.name = "match", .size = 1, .labels = {"layer"}};
  const std::vector<Axis> drawn{prompt, draws, set, match, target};
  const double n = kNaN;
  StoredRun run{.id = "e/m/p", .kind = "head_ablation"};
  run.arrays = {
      {"base/loss", {prompt, target}, {1, 2, 1, 1, 3, n}},
      {"base/logit", {prompt, target, tracked}, {0, 0, 0, 0, 0, n}},
      {"base/top1", {prompt, target}, {5, 6, 5, 0, 5, -1}},
      {"base/tracked_token", {prompt, target, tracked}, {5, 6, 5, 6, 5, -1}},
      {"loss", {prompt, set, target}, {2, 5, 1, 2, 5, n}},
      {"logit", {prompt, set, target, tracked}, {0, 0, 0, 0, 0, n}},
      {"top1", {prompt, set, target}, {0, 0, 5, 6, 0, -1}},
      // Changes by prompt: draw 0: 0, .5, 1; draw 1: 2, .5, 2; draw 2: 3, 3, 3.
      {"controls/loss", drawn, {1, 2, 3, 4, 4, 5, 1, 2, 1, 2, 4, 4, 4, n, 5, n, 6, n}},
      {"controls/correct", drawn, {1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 255, 0, 255, 0, 255}},
  };
  run.attributes = {{"controls_alternative", "greater"}, {"controls_chosen", "allowed"}};
  run.templates = {"", "", ""};
  return run;
}

double column(const ControlComparison& comparison, const std::string& name) {
  for (const ControlColumn& one : control_columns())
    if (one.name == name) return one.value(comparison, 0);
  return -1.0;
}

TEST(ControlSummary, MeansOverTheSamePromptsAreCompared) {
  const auto all = compare_controls(stored_controls(), std::vector<int64_t>{0, 1, 2});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name, "control_delta_loss");
  ASSERT_EQ(all[0].axes.size(), 2U);
  EXPECT_EQ(all[0].axes[0].name, "set");
  EXPECT_EQ(all[0].axes[1].name, "match");
  // Chosen: (1 + 3) / 2, 1 / 2, 2: mean 1.5. Draws: .5, 1.5, 3.
  EXPECT_DOUBLE_EQ(column(all[0], "observed"), 1.5);
  EXPECT_DOUBLE_EQ(column(all[0], "mean"), 5.0 / 3.0);
  EXPECT_DOUBLE_EQ(column(all[0], "median"), 1.5);
  EXPECT_EQ(column(all[0], "at_least"), 2);  // a tie is as extreme
  EXPECT_DOUBLE_EQ(column(all[0], "p_value"), 3.0 / 4.0);
  EXPECT_EQ(column(all[0], "draws"), 3);
  EXPECT_EQ(column(all[0], "prompts"), 3);
  // Right answers: base 1, .5, 1; chosen 0, 1, 0; draws (1, .5, 1), (.5, 1, 0), (0, 0, 0).
  EXPECT_EQ(all[1].alternative, Alternative::less);
  EXPECT_DOUBLE_EQ(column(all[1], "observed"), (-1 + 0.5 - 1) / 3.0);
  EXPECT_DOUBLE_EQ(column(all[1], "mean"), (0.0 - 1.0 / 3.0 - 2.5 / 3.0) / 3.0);
  EXPECT_DOUBLE_EQ(column(all[1], "p_value"), 2.0 / 4.0);
}

TEST(ControlSummary, OnlyCountedPromptsCount) {
  const auto all = compare_controls(stored_controls(), std::vector<int64_t>{2});
  EXPECT_DOUBLE_EQ(column(all[0], "observed"), 2.0);
  EXPECT_DOUBLE_EQ(column(all[0], "mean"), 2.0);
  EXPECT_EQ(column(all[0], "prompts"), 1);
}

TEST(ControlSummary, BrokenNumbersLeaveAPromptOrADrawOut) {
  StoredRun run = stored_controls();
  run.arrays[4].values[2] = kNaN;  // the chosen set on the second prompt
  auto all = compare_controls(run, std::vector<int64_t>{0, 1, 2});
  EXPECT_EQ(column(all[0], "prompts"), 2);
  EXPECT_DOUBLE_EQ(column(all[0], "observed"), 2.0);
  EXPECT_DOUBLE_EQ(column(all[0], "mean"), (0.5 + 2 + 3) / 3.0);
  run = stored_controls();
  run.arrays[7].values[4] = kNaN;  // a draw on the first prompt
  all = compare_controls(run, std::vector<int64_t>{0, 1, 2});
  EXPECT_EQ(column(all[0], "prompts"), 3);
  EXPECT_EQ(column(all[0], "draws"), 2);
  EXPECT_DOUBLE_EQ(column(all[0], "p_value"), 2.0 / 3.0);
}

TEST(ControlSummary, WithoutTheChosenHeadsAmongTheDrawsThereIsNoPValue) {
  StoredRun run = stored_controls();
  run.attributes["controls_chosen"] = "excluded";
  const auto all = compare_controls(run, std::vector<int64_t>{0, 1, 2});
  EXPECT_THAT(column(all[0], "p_value"), IsNan());
  EXPECT_DOUBLE_EQ(column(all[0], "mean"), 5.0 / 3.0);
}

TEST(ControlSummary, RunsWithoutControlsAndDamagedOnes) {
  StoredRun run = stored_controls();
  run.arrays[7].values.pop_back();
  EXPECT_THAT(failure([&] { (void)compare_controls(run, std::vector<int64_t>{0}); }),
              HasSubstr("input: run 'e/m/p': the numbers of its random sets"));
  run.arrays.resize(7);
  EXPECT_TRUE(compare_controls(run, std::vector<int64_t>{0}).empty());
}

}  // namespace
}  // namespace mechsweep
