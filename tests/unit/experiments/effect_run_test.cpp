#include "experiments/effect_run.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::code_of;
using test_experiments::failure;
using test_experiments::ParsedExperiment;
using test_experiments::ragged_prompts;
using test_experiments::RunPointer;
using test_experiments::small_model;
using test_experiments::SpellingExecutor;
using test_experiments::values_of;
using testing::ElementsAre;

/// NaN equals NaN here: blocks are compared place by place.
std::vector<std::string> shown(const std::vector<double>& values) {
  std::vector<std::string> texts;
  for (const double value : values)
    texts.push_back(std::isnan(value) ? "nan" : fmt::format("{:.1f}", value));
  return texts;
}

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class EffectRunTest : public testing::Test {
 protected:
  RunPointer bind_run(const std::string& kind, const Json& json) {
    return ParsedExperiment(kind, json).bind(model_, prompts_);
  }
  std::vector<double> doubles(const UnitResult& result, size_t block) {
    return values_of<double>(result.blocks.at(block));
  }

  /// The losses of the grid: its five arrays are the last ones of a unit.
  std::vector<double> edited_losses(const UnitResult& result) {
    return doubles(result, result.blocks.size() - 5);
  }

  ModelConfig model_ = small_model(2, 2);
  PromptSet prompts_ = ragged_prompts();
  SpellingExecutor executor_{model_};
};

std::string axes_text(const ArraySpec& array) {
  std::string text = array.name + ":";
  for (const Axis& axis : array.axes) text += fmt::format(" {} {}", axis.name, axis.size);
  return text;
}

TEST_F(EffectRunTest, ArraysOfAnAblation) {
  const auto run = bind_run("head_ablation", {{"operation", "zero"}, {"positions", "all"}});
  std::vector<std::string> texts;
  for (const ArraySpec& array : run->arrays()) texts.push_back(axes_text(array));
  EXPECT_THAT(
      texts,
      ElementsAre("base/loss: prompt 2 target 2", "base/logit: prompt 2 target 2 tracked 3",
                  "base/logit_mean: prompt 2 target 2", "base/logsumexp: prompt 2 target 2",
                  "base/top1: prompt 2 target 2", "base/tracked_token: prompt 2 target 2 tracked 3",
                  "loss: prompt 2 layer 2 head 2 target 2",
                  "logit: prompt 2 layer 2 head 2 target 2 tracked 3",
                  "logit_mean: prompt 2 layer 2 head 2 target 2",
                  "logsumexp: prompt 2 layer 2 head 2 target 2",
                  "top1: prompt 2 layer 2 head 2 target 2"));
  const auto stages = run->stages();
  ASSERT_EQ(stages.size(), 1U);
  EXPECT_EQ(stages[0].first_size, 2);
  for (const ArraySpec& array : run->arrays()) {
    const bool edited = array.name.find('/') == std::string::npos;
    EXPECT_EQ(array.stage, 0) << array.name;
    EXPECT_EQ(array.split_by_first, edited) << array.name;
  }
}

TEST_F(EffectRunTest, OneTargetEachNeedsNoTargetAxis) {
  prompts_.prompts.pop_back();
  const auto run = bind_run("activation_patching", {{"site", "resid_pre"},
                                                    {"direction", "clean_to_corrupt"},
                                                    {"positions", "each"},
                                                    {"layers", 1}});
  std::vector<std::string> losses;
  for (const ArraySpec& array : run->arrays())
    if (array.name.ends_with("loss")) losses.push_back(axes_text(array));
  EXPECT_THAT(losses, ElementsAre("base/loss: prompt 1", "donor/loss: prompt 1",
                                  "loss: prompt 1 layer 1 position 2"));
}

TEST_F(EffectRunTest, BaseRunsComeWithTheUnitThatBeginsTheGrid) {
  const auto run = bind_run("head_ablation", {{"operation", "zero"}, {"positions", "all"}});
  const UnitResult later = run->execute(0, {0, 2}, {1, 2}, executor_);
  ASSERT_EQ(later.blocks.size(), 5U);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(later.blocks[i].array, 6 + i);
  const UnitResult result = run->execute(0, {0, 2}, {0, 1}, executor_);
  ASSERT_EQ(result.blocks.size(), 11U);
  for (int i = 0; i < 11; ++i) EXPECT_EQ(result.blocks[i].array, i);
  // Targets that a prompt does not have are padded with nothing.
  const double a = code_of("clean 5,6");
  const double b = code_of("clean 7,8,7");
  EXPECT_EQ(shown(doubles(result, 0)), shown({a + 11, kNaN, b + 21, b + 31}));
  const auto logits = values_of<float>(result.blocks[1]);
  EXPECT_EQ(shown({logits.begin(), logits.end()}),
            shown({-11, -12, -13, kNaN, kNaN, kNaN, -21, -22, kNaN, -31, kNaN, kNaN}));
  EXPECT_EQ(shown(doubles(result, 2)), shown({1, kNaN, 0, 2}));
  EXPECT_EQ(shown(doubles(result, 3)), shown({a, kNaN, b, b}));
  EXPECT_THAT(values_of<int32_t>(result.blocks[4]), ElementsAre(3, -1, 2, 1));
  EXPECT_THAT(values_of<int32_t>(result.blocks[5]),
              ElementsAre(11, 12, 13, -1, -1, -1, 21, 22, -1, 31, -1, -1));
}

TEST_F(EffectRunTest, EveryHeadIsZeroedAtItsOwnPlace) {
  const auto run = bind_run("head_ablation", {{"operation", "zero"}, {"positions", "each"}});
  const UnitResult result = run->execute(0, {0, 2}, {0, 2}, executor_);
  std::vector<double> expected;  // [prompt, layer, head, position, target]
  for (const std::string tokens : {"5,6", "7,8,7"})
    for (int layer = 0; layer < 2; ++layer)
      for (int head = 0; head < 2; ++head)
        for (int position = 0; position < 3; ++position) {
          const double code =
              code_of(fmt::format("clean {}|z L{} H{} P{} zero", tokens, layer, head, position));
          const bool first = tokens == "5,6";
          const bool past_end = first && position == 2;
          expected.push_back(past_end ? kNaN : code + (first ? 11 : 21));
          expected.push_back(first ? kNaN : code + 31);
        }
  EXPECT_EQ(shown(edited_losses(result)), shown(expected));
  const auto top1 = values_of<int32_t>(result.blocks.back());
  EXPECT_THAT(std::vector<int32_t>(top1.begin(), top1.begin() + 6),
              ElementsAre(3, -1, 3, -1, -1, -1));
}

TEST_F(EffectRunTest, APieceHasTheBitsOfTheWhole) {
  const auto run = bind_run("head_ablation", {{"operation", "zero"}, {"positions", "each"}});
  const auto whole = edited_losses(run->execute(0, {0, 2}, {0, 2}, executor_));
  ASSERT_EQ(whole.size(), 2U * 2 * 2 * 3 * 2);
  const size_t segment = 2 * 3 * 2;  // one prompt, one layer
  for (int64_t p = 0; p < 2; ++p)
    for (int64_t layer = 0; layer < 2; ++layer) {
      const auto piece = edited_losses(run->execute(0, {p, p + 1}, {layer, layer + 1}, executor_));
      ASSERT_EQ(piece.size(), segment);
      const auto from = whole.begin() + (p * 2 + layer) * static_cast<int64_t>(segment);
      EXPECT_EQ(shown(piece), shown({from, from + static_cast<int64_t>(segment)}));
    }
}

TEST_F(EffectRunTest, DirectionsChooseBaseAndDonor) {
  prompts_.prompts.pop_back();
  const Json common = {{"site", "resid_mid"}, {"positions", {-1}}, {"layers", {1}}};
  for (const bool to_corrupt : {true, false}) {
    Json json = common;
    json["direction"] = to_corrupt ? "clean_to_corrupt" : "corrupt_to_clean";
    const auto run = bind_run("activation_patching", json);
    const std::string clean = "clean 5,6";
    const std::string corrupt = "corrupt 5,9";
    const std::string& base = to_corrupt ? corrupt : clean;
    const std::string& donor = to_corrupt ? clean : corrupt;
    const UnitResult result = run->execute(0, {0, 1}, {0, 1}, executor_);
    ASSERT_EQ(result.blocks.size(), 16U);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(result.blocks[i].array, i);
    EXPECT_EQ(shown(doubles(result, 0)), shown({code_of(base) + 11}));
    EXPECT_EQ(shown(doubles(result, 6)), shown({code_of(donor) + 11}));
    EXPECT_EQ(shown(doubles(result, 11)),
              shown({code_of(base + "|resid_mid L1 H P1 replace " + donor) + 11}));
    const Json attributes = run->attributes();
    EXPECT_EQ(attributes.at("base"), to_corrupt ? "corrupt" : "clean");
    EXPECT_EQ(attributes.at("donor"), to_corrupt ? "clean" : "corrupt");
  }
}

TEST_F(EffectRunTest, HeadsAndSetsOfZ) {
  prompts_.prompts.pop_back();
  const Json common = {{"site", "z"}, {"direction", "corrupt_to_clean"}, {"positions", "name"}};
  Json named = common;
  named["heads"] = {"L1H1", "L0H0"};
  const std::string replace = " P0 replace corrupt 5,9";
  EXPECT_EQ(shown(edited_losses(
                bind_run("activation_patching", named)->execute(0, {0, 1}, {0, 2}, executor_))),
            shown({code_of("clean 5,6|z L1 H1" + replace) + 11,
                   code_of("clean 5,6|z L0 H0" + replace) + 11}));
  Json sets = common;
  sets["heads"] = {{"sets", {{"s", {"L1H1", "L1H0", "L0H1"}}}}};
  EXPECT_EQ(shown(edited_losses(
                bind_run("activation_patching", sets)->execute(0, {0, 1}, {0, 1}, executor_))),
            shown({code_of("clean 5,6|z L0 H1" + replace + "|z L1 H0,1" + replace) + 11}));
}

TEST_F(EffectRunTest, AListOfOperationsIsAnAxis) {
  const auto run = bind_run("head_ablation", {{"operation", {"zero"}}, {"positions", "all"}});
  const ArraySpec loss = run->arrays()[6];
  EXPECT_EQ(axes_text(loss), "loss: prompt 2 layer 2 head 2 operation 1 target 2");
  EXPECT_THAT(loss.axes[3].labels, ElementsAre("zero"));
}

TEST_F(EffectRunTest, PromptsThatDoNotFitAreNamed) {
  const Json ablation = {{"operation", "zero"}, {"positions", "all"}};
  const auto attempt = [&](const std::string& kind, const Json& json) {
    return failure([&] { bind_run(kind, json); });
  };
  prompts_.prompts[1].targets.clear();
  EXPECT_EQ(attempt("head_ablation", ablation),
            "input: prompt 'b' of set 'p' has no target, and this experiment scores answers; give "
            "it `answer` or `targets`");
  prompts_ = ragged_prompts();
  prompts_.prompts[0].corrupt_tokens.clear();
  EXPECT_EQ(attempt("head_ablation", ablation), "nothing was thrown");
  EXPECT_EQ(attempt("activation_patching",
                    {{"site", "z"}, {"direction", "corrupt_to_clean"}, {"positions", "all"}}),
            "input: prompt 'a' of set 'p' has no corrupt partner, and this experiment needs one; "
            "give it `corrupt_tokens` or `corrupt_text`");
  prompts_.prompts[0].corrupt_targets = {{.at = 0, .answer = 1}};
  EXPECT_EQ(attempt("head_ablation", ablation),
            "input: prompt 'a' has `corrupt_targets`, which are not supported yet");
}

TEST_F(EffectRunTest, ASiteThatTheModelLacksIsRefused) {
  model_.architecture = "gptj";
  model_.parallel_residual = true;
  const Json patch = {{"direction", "corrupt_to_clean"}, {"positions", "all"}};
  const auto attempt = [&](const char* site) {
    Json json = patch;
    json["site"] = site;
    return failure([&] { bind_run("activation_patching", json); });
  };
  EXPECT_EQ(attempt("resid_mid"),
            "usage: site 'resid_mid' does not exist in architecture 'gptj': attention and MLP of a "
            "layer read the same residual stream there; use resid_pre or resid_post");
  EXPECT_EQ(attempt("resid_pre"), "nothing was thrown");
}

TEST_F(EffectRunTest, CostIsWhatAnInterventionAdds) {
  // Per row by hand: 256 for projections, 128 for the output projection, 768 for the MLP, 1600 for
  // the unembedding; 32 for every (query, key). Prompt b has 3 tokens and is read at 0 and 2. A
  // base run: layer 0 in full, the projections and the rows 0 and 2 of layer 1.
  const double layer_0 = 3 * (256 + 128 + 768) + 6 * 32;
  const double layer_1 = 3 * 256 + 2 * (128 + 768) + (1 + 3) * 32;
  const auto run = bind_run("head_ablation", {{"operation", "zero"}, {"positions", "each"}});
  EXPECT_EQ(run->shared_flops(0, 1), layer_0 + layer_1);
  // z of layer 0 at one position; then its projection in layer 1 and the rows that see and are
  // read.
  const double edited_row = 128 + 768 + 256;
  const double row_2 = 3 * 32 + 128 + 768 + 1600;
  const double row_0 = 1 * 32 + 128 + 768 + 1600;
  const double edits = 2 * (3 * edited_row + 3 * row_2 + row_0);
  // The unit that begins the grid also reads the base run, at two rows.
  EXPECT_EQ(run->flops(0, 1, 0), edits + 2 * 1600);
  const auto both =
      bind_run("activation_patching",
               {{"site", "resid_pre"}, {"direction", "clean_to_corrupt"}, {"positions", "all"}});
  EXPECT_EQ(both->flops(0, 1, 0), layer_0 + layer_1 + 2 * 1600 + 2 * (2 * 1600));
  EXPECT_EQ(both->flops(0, 1, 1), layer_1 + 2 * 1600);
  EXPECT_EQ(both->shared_flops(0, 1), 2 * (layer_0 + layer_1));
}

TEST_F(EffectRunTest, FreezeIsAskedForAndSaid) {
  const auto run = bind_run("activation_patching", {{"site", "z"},
                                                    {"direction", "corrupt_to_clean"},
                                                    {"positions", {0}},
                                                    {"heads", {"L0H1"}},
                                                    {"downstream", "freeze"}});
  run->execute(0, {0, 1}, {0, 1}, executor_);
  EXPECT_THAT(executor_.asked_edits(),
              ElementsAre("clean 5,6|z L0 H1 P0 replace corrupt 5,9|freeze"));
  const Json attributes = run->attributes();
  EXPECT_EQ(attributes.at("downstream"), "freeze");
  EXPECT_EQ(attributes.at("estimand"),
            "z of the corrupt run pasted into the clean run at positions [0], everything else "
            "frozen (direct effects)");
}

TEST_F(EffectRunTest, EverySiteCanBePatched) {
  prompts_.prompts.pop_back();
  for (const SiteInfo& info : site_table()) {
    Json json = {{"site", info.name}, {"direction", "corrupt_to_clean"}, {"positions", {1}}};
    const auto run = bind_run("activation_patching", json);
    std::vector<std::string> axes;
    const ArraySpec last = run->arrays().back();
    for (const Axis& axis : last.axes) axes.push_back(fmt::format("{} {}", axis.name, axis.size));
    std::vector<std::string> expected = {"prompt 1", "layer 2"};
    const bool key_value = info.name == "k" || info.name == "v";
    const bool query = info.name == "q" || info.name == "z" || info.name == "pattern";
    if (query) expected.emplace_back("head 2");
    if (key_value) expected.emplace_back("head 1");  // small_model has one key/value head
    EXPECT_EQ(axes, expected) << info.name;
    // An edit of a shared head says whose input it changes.
    const Json attributes = run->attributes();
    EXPECT_EQ(attributes.value("definition_head", ""),
              key_value ? "key/value head 0 is read by all 2 query heads" : "")
        << info.name;
    executor_.asked.clear();
    run->execute(0, {0, 1}, {1, 2}, executor_);
    EXPECT_EQ(executor_.asked.front(), fmt::format("clean 5,6|{} L1 H{} P1 replace corrupt 5,9",
                                                   info.name, query || key_value ? "0" : ""));
  }
  Json json = {{"site", "k"}, {"direction", "corrupt_to_clean"}, {"positions", {1}}};
  json["heads"] = {"L1H1"};
  EXPECT_EQ(failure([&] { bind_run("activation_patching", json); }),
            "usage: `heads` names L1H1, but the model has layers 0..1 with key/value heads 0..0");
}

TEST_F(EffectRunTest, PatchingOnlyReplaces) {
  const Json json = {{"site", "resid_pre"},
                     {"direction", "corrupt_to_clean"},
                     {"positions", "all"},
                     {"operation", "add"}};
  EXPECT_EQ(
      failure([&] { bind_run("activation_patching", json); }),
      "usage: s.yaml:11:5: operation: patching only replaces; list other operations in a file "
      "and use `kind: interventions`");
}

}  // namespace
}  // namespace mechsweep
