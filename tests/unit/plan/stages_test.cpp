// Work that depends on earlier results, as the plan declares it.

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "plan/plan.h"
#include "unit/plan/sweep_files.h"

namespace mechsweep {
namespace {

using test_plan::Folder;
using test_plan::good_config;
using test_plan::replaced;
using testing::ElementsAre;
using testing::HasSubstr;

const char* const kHeads =
    "  - {id: heads, kind: head_ablation, operation: zero, positions: all}\n";
const char* const kTop =
    "  - {id: top, kind: head_ablation, operation: zero, positions: all, evaluate: half_b, heads: "
    "{top: {from: heads, by: mean(delta_loss), k: [1, 2], on: half_a}}}\n";

Plan plan_of(const std::string& text) {
  const Folder folder;
  OpenedSweep opened = open_sweep(folder.write("c.yaml", text));
  auto hashes = hash_models(opened);
  return make_plan(std::move(opened), std::move(hashes));
}

std::string failure(const std::string& text) {
  try {
    (void)plan_of(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::string with_top(const std::string& top = kTop) {
  return replaced(good_config(), kHeads, kHeads + top);
}

std::vector<Unit> units_of(const Plan& plan, int run, int stage) {
  std::vector<Unit> units;
  for (const Unit& unit : plan.units)
    if (unit.run == run && unit.stage == stage) units.push_back(unit);
  return units;
}

TEST(Stages, ARunWaitsForTheRunThatItTakesFrom) {
  const Plan plan = plan_of(with_top());
  ASSERT_EQ(plan.runs.size(), 3U);
  EXPECT_EQ(plan.runs[2].id, "top/llama/rep");
  EXPECT_THAT(plan.runs[2].needs,
              ElementsAre(ElementsAre(RunStage{1, 0}), ElementsAre(RunStage{2, 0})));
  EXPECT_THAT(plan.runs[1].needs, ElementsAre(std::vector<RunStage>()));
}

TEST(Stages, AStageThatDecidesIsOneUnitWithoutPromptsAndWork) {
  const Plan plan = plan_of(with_top());
  const auto decide = units_of(plan, 2, 0);
  ASSERT_EQ(decide.size(), 1U);
  EXPECT_EQ(decide[0].prompts, (Range{0, 0}));
  EXPECT_EQ(decide[0].first, (Range{0, 0}));
  EXPECT_EQ(decide[0].flops, 0.0);
  std::set<std::string> ids;
  for (const Unit& unit : plan.units) EXPECT_TRUE(ids.insert(unit.id).second);
}

TEST(Stages, UnitsThatMayBeLeftOutHoldOnePlaceEach) {
  const Plan whole = plan_of(with_top());
  ASSERT_EQ(units_of(whole, 2, 1).size(), 1U);
  EXPECT_EQ(units_of(whole, 2, 1)[0].first, (Range{0, 2}));
  const Plan apart = plan_of(with_top(replaced(kTop, "on: half_a", "on: half_a, at_least: 0.5")));
  const auto units = units_of(apart, 2, 1);
  ASSERT_EQ(units.size(), 2U);
  for (int64_t k = 0; k < 2; ++k) {
    EXPECT_EQ(units[k].first, (Range{k, k + 1}));
    EXPECT_EQ(units[k].prompts, (Range{0, 3}));
  }
  EXPECT_NE(whole.key, apart.key);
}

TEST(Stages, FromNamesAnExperimentThatStandsAbove) {
  const std::string below = replaced(good_config(), kHeads, std::string(kTop) + kHeads);
  EXPECT_THAT(failure(below),
              HasSubstr("experiment 'top' on model 'llama': `heads.top.from` is 'heads', but there "
                        "is no run 'heads/llama/rep' above this one"));
  EXPECT_THAT(failure(with_top(replaced(kTop, "from: heads", "from: top"))),
              HasSubstr("no run 'top/llama/rep' above this one"));
  EXPECT_THAT(
      failure(replaced(good_config(), "scores: [induction]", "scores: [induction], evaluate: all")),
      HasSubstr("experiments[0].evaluate: unknown key"));
}

/// Says what it is asked.
class Asked final : public Run {
 public:
  explicit Asked(bool left_out) : left_out_(left_out) {}
  [[nodiscard]] std::vector<ArraySpec> arrays() const override { return {}; }
  [[nodiscard]] std::vector<StageSpec> stages() const override { return {}; }
  [[nodiscard]] Json attributes() const override { return Json::object(); }
  [[nodiscard]] double flops(int, int64_t, int64_t) const override { return 1.0; }
  [[nodiscard]] UnitResult execute(int, Range, Range, const UnitInputs&) const override {
    return {.non_finite = 1};
  }
  [[nodiscard]] UnitResult decide(int, const StoredResults&) const override {
    return {.non_finite = 2};
  }
  [[nodiscard]] bool is_left_out(int, Range, const StoredResults&) const override {
    return left_out_;
  }

 private:
  bool left_out_;
};

struct NothingStored final : StoredResults {
  [[nodiscard]] StoredStage read(const std::string&, int) const override { return {}; }
};

/// An executor that nobody may use.
struct NoExecutor final : Executor {
  [[nodiscard]] std::string_view name() const override { return "none"; }
  [[nodiscard]] const ModelConfig& config() const override { return config_; }
  std::vector<TaskResult> run(std::span<const PromptTokens>, std::span<const Task>,
                              AttentionObserver*) override {
    return {};
  }
  ModelConfig config_;
};

TEST(Stages, TheModelIsAskedForOnlyWhereItComputes) {
  NoExecutor executor;
  int asked = 0;
  const auto provide = [&]() -> Executor& {
    ++asked;
    return executor;
  };
  const auto computed = [&](const StageSpec& stage, bool left_out) {
    PlannedRun run{.id = "e/m/p", .run = std::make_unique<Asked>(left_out), .stages = {stage}};
    return compute_unit(run, Unit{}, NothingStored(), provide);
  };
  EXPECT_EQ(computed({.name = "d", .decides = true}, true).non_finite, 2);
  EXPECT_TRUE(computed({.name = "e", .may_skip = true}, true).skipped);
  EXPECT_EQ(asked, 0);
  EXPECT_EQ(computed({.name = "e", .may_skip = true}, false).non_finite, 1);
  const UnitResult plain = computed({.name = "e"}, true);
  EXPECT_EQ(plain.non_finite, 1);
  EXPECT_FALSE(plain.skipped);
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace mechsweep
