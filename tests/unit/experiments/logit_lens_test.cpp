#include "experiments/logit_lens.h"

#include <cmath>

#include <gmock/gmock.h>

#include "experiments/direct_logit_attribution.h"
#include "unit/experiments/experiment_support.h"
#include "unit/experiments/stored_effects.h"

// What the logit lens and the direct logit attribution ask of an executor, refuse, and make of what
// is stored; without a model.

namespace mechsweep {
namespace {

using namespace test_experiments;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kDirect = "direct_logit_attribution";

/// The edits that a run asks for, all of it in one unit.
std::vector<std::string> asked(const Json& keys, const PromptSet& prompts) {
  const ModelConfig model = small_model(2, 2);
  const auto run = ParsedExperiment("logit_lens", keys).bind(model, prompts);
  SpellingExecutor executor(model);
  (void)run->execute(0, {0, std::ssize(prompts.prompts)}, {0, run->stages().front().first_size},
                     executor);
  return executor.asked_edits();
}

TEST(LogitLens, PutsEachTargetsOwnRowInPlaceOfTheLast) {
  const auto edits = asked({{"site", "resid_pre"}}, ragged_prompts());
  // The executor's rows are the token plus 100 for each layer, then half more each number.
  EXPECT_THAT(edits,
              ElementsAre("clean 5,6|resid_post L1 H P1 replace [6,6.5,7,7.5,8,8.5,9,9.5]",
                          "clean 5,6|resid_post L1 H P1 replace "
                          "[106,106.5,107,107.5,108,108.5,109,109.5]",
                          "clean 7,8,7|resid_post L1 H P0 replace [7,7.5,8,8.5,9,9.5,10,10.5]"
                          "|resid_post L1 H P2 replace [7,7.5,8,8.5,9,9.5,10,10.5]",
                          "clean 7,8,7|resid_post L1 H P0 replace "
                          "[107,107.5,108,108.5,109,109.5,110,110.5]"
                          "|resid_post L1 H P2 replace "
                          "[107,107.5,108,108.5,109,109.5,110,110.5]"));
}

TEST(LogitLens, ReadsOtherPositionsForEveryTarget) {
  PromptSet one = ragged_prompts();
  one.prompts.erase(one.prompts.begin());
  EXPECT_THAT(asked({{"site", "resid_mid"}, {"layers", 0}, {"positions", {-2}}}, one),
              ElementsAre("clean 7,8,7|resid_post L1 H P0,2 replace "
                          "[8,8.5,9,9.5,10,10.5,11,11.5]"));
  // The shorter prompt has no third position.
  EXPECT_EQ(
      asked({{"site", "resid_mid"}, {"layers", 0}, {"positions", "each"}}, ragged_prompts()).size(),
      5);
}

TEST(LogitLens, SitesInAListAreAnAxis) {
  const ModelConfig model = small_model(2, 2);
  const PromptSet prompts = ragged_prompts();
  const auto run = ParsedExperiment("logit_lens",
                                    {{"site", {"resid_pre", "resid_post"}}, {"positions", {0, -1}}})
                       .bind(model, prompts);
  for (const ArraySpec& array : run->arrays()) {
    if (array.name != "loss") continue;
    EXPECT_EQ(array.axes[2].labels, (std::vector<std::string>{"resid_pre", "resid_post"}));
    EXPECT_EQ(array.axes[3].coordinates, (std::vector<int32_t>{0, -1}));
  }
}

TEST(LogitLens, RefusesWhatALensCannotRead) {
  const PromptSet prompts = ragged_prompts();
  const auto refusal = [&](const Json& keys, ModelConfig model = small_model(2, 2)) {
    return failure([&] { (void)ParsedExperiment("logit_lens", keys).bind(model, prompts); });
  };
  EXPECT_THAT(refusal({{"layers", 1}}), HasSubstr("site"));
  EXPECT_THAT(refusal({{"site", "z"}}), HasSubstr("resid_pre"));
  EXPECT_THAT(refusal({{"site", {"resid_pre", "resid_pre"}}}), HasSubstr("twice"));
  EXPECT_THAT(refusal({{"site", "resid_pre"}, {"positions", "all"}}),
              HasSubstr("one position at a time"));
  EXPECT_THAT(refusal({{"site", "resid_pre"}, {"positions", {1, 1}}}), HasSubstr("twice"));
  EXPECT_THAT(refusal({{"site", "resid_pre"}, {"positions", {2}}}), HasSubstr("no position 2"));
  EXPECT_THAT(refusal({{"site", "resid_pre"}, {"layers", 5}}), HasSubstr("layers 0..1"));
  ModelConfig parallel = small_model(2, 2);
  parallel.parallel_residual = true;
  EXPECT_THAT(refusal({{"site", "resid_mid"}}, parallel), HasSubstr("resid_mid"));
}

const Metric& metric_of(const std::vector<Metric>& metrics, const std::string& name) {
  for (const Metric& metric : metrics)
    if (metric.name == name) return metric;
  fail(ErrorKind::internal, "there is no metric {}", name);
}

void expect_values(const std::vector<double>& values, const std::vector<double>& known) {
  ASSERT_EQ(values.size(), known.size());
  for (size_t i = 0; i < known.size(); ++i)
    EXPECT_TRUE(values[i] == known[i] || (std::isnan(values[i]) && std::isnan(known[i])))
        << i << ": " << values[i];
}

TEST(LogitLens, SummarisesLossesAndCorrectAnswers) {
  StoredRun run = stored_effects();
  run.kind = "logit_lens";
  const auto metrics = derive_logit_lens(run);
  const Metric& correct = metric_of(metrics, "correct");
  EXPECT_EQ(correct.axes.size(), 2);
  // Answers are 7, none, 5 and 9; top1 is 7, -1, 7, -1, 8, 9, 8, 9.
  expect_values(correct.values, {1, kNaN, 1, kNaN, 0, 1, 0, 1});
  EXPECT_TRUE(metric_of(metrics, "loss").summarised);
  EXPECT_FALSE(metric_of(metrics, "logit_1").summarised);
  EXPECT_THAT(metric_of(metrics, "loss").long_name, HasSubstr("through the lens"));
  expect_values(metric_of(metrics, "delta_loss").values, {.5, kNaN, 0, kNaN, -1, 1, 2, 4});
}

TEST(DirectLogitAttribution, RefusesKeysPromptsAndExecutorsThatDoNotFit) {
  const ModelConfig model = small_model(2, 2);
  PromptSet prompts = ragged_prompts();
  const auto bind = [&](const Json& keys) {
    return ParsedExperiment(kDirect, keys).bind(model, prompts);
  };
  EXPECT_THAT(failure([&] { (void)bind({{"layers", 1}}); }), HasSubstr("unknown key"));
  const auto run = bind(Json::object());
  SpellingExecutor executor(model);
  EXPECT_EQ(failure([&] {
              (void)run->execute(0, {0, 1}, {0, 0}, executor);
            }),
            "usage: executor 'spelling' cannot attribute logits to components; use wavefront");
  prompts.prompts[1].targets.clear();
  EXPECT_THAT(failure([&] { (void)bind(Json::object()); }),
              HasSubstr("input: prompt 'b' of set 'p' has no target"));
}

/// One head of one layer, two prompts, of which the second has only one wrong token.
StoredRun stored_attribution() {
  const Axis prompt{.name = "prompt", .size = 2};
  const Axis layer{.name = "layer", .size = 1};
  const Axis head{.name = "head", .size = 1};
  const Axis component{.name = "component", .size = 1, .labels = {"token_embedding"}};
  const Axis tracked{.name = "tracked", .size = 3};
  StoredRun run{.id = "e/m/p", .kind = kDirect};
  run.arrays = {
      {"base/loss", {prompt}, {1, 2}},
      {"base/logit", {prompt, tracked}, {3, 0, 1, 1, 4, kNaN}},
      {"base/top1", {prompt}, {7, 8}},
      {"base/tracked_token", {prompt, tracked}, {7, 1, 2, 5, 6, -1}},
      {"head_contribution", {prompt, layer, head, tracked}, {4, 1, 2, 3, 5, kNaN}},
      {"mlp_contribution", {prompt, layer, tracked}, {1, 1, 1, 2, kNaN, kNaN}},
      {"attention_bias_contribution", {prompt, layer, tracked}, {0, 0, 0, 0, 0, kNaN}},
      {"other_contribution", {prompt, component, tracked}, {0, 0, 0, 0, 0, kNaN}},
  };
  run.templates = {"", ""};
  run.prompt_lengths = {3, 4};
  run.complete = {1, 1};
  return run;
}

TEST(DirectLogitAttribution, DerivesDifferencesAgainstTheMeanOfTheWrongOnes) {
  const auto metrics = derive_direct_logit_attribution(stored_attribution());
  const Metric& difference = metric_of(metrics, "head_difference");
  expect_values(difference.values, {2.5, -2});
  EXPECT_TRUE(difference.headline);
  expect_values(metric_of(metrics, "head_logit_0").values, {4, 3});
  expect_values(metric_of(metrics, "head_logit_2").values, {2, kNaN});
  // A place without a third token applies to nobody; a contribution that is NaN is broken.
  EXPECT_THAT(metric_of(metrics, "head_logit_2").broken, ElementsAre(0, 0));
  EXPECT_THAT(metric_of(metrics, "mlp_difference").broken, ElementsAre(0, 1));
  EXPECT_EQ(metric_of(metrics, "other_difference").axes.front().labels.front(), "token_embedding");
}

TEST(DirectLogitAttribution, SaysThatADamagedFileIsDamaged) {
  StoredRun run = stored_attribution();
  run.arrays[4].values.pop_back();
  EXPECT_THAT(failure([&] { (void)derive_direct_logit_attribution(run); }),
              HasSubstr("'head_contribution' is wrong: the file is damaged"));
}

}  // namespace
}  // namespace mechsweep
