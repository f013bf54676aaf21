#include "experiments/readouts.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::code_of;
using test_experiments::failure;
using test_experiments::node_of;
using test_experiments::ParsedExperiment;
using test_experiments::ragged_prompts;
using test_experiments::RunPointer;
using test_experiments::small_model;
using test_experiments::SpellingExecutor;
using test_experiments::values_of;
using testing::ElementsAre;

Readouts read(const Json& json, std::vector<std::string>& problems) {
  const ConfigNode node = node_of(json);
  Problems found;
  MapReader reader(node, found);
  const Readouts readouts = parse_readouts(reader);
  reader.finish();
  problems = found.lines();
  return readouts;
}

TEST(ReadoutsConfig, NamesAndCanonicalForm) {
  std::vector<std::string> problems;
  EXPECT_EQ(read(Json::object(), problems).to_json().dump(), R"({"readouts":[],"top_k":0})");
  const Readouts all = read({{"readouts", {"kl", "answer_rank"}}, {"top_k", 3}}, problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(all.to_json().dump(), R"({"readouts":["answer_rank","kl"],"top_k":3})");
  EXPECT_TRUE(read({{"readouts", "kl"}}, problems).kl);
}

TEST(ReadoutsConfig, ProblemsAreNamed) {
  std::vector<std::string> problems;
  read({{"readouts", {"kl", "rank", "top_k", "kl"}}, {"top_k", 0}}, problems);
  EXPECT_THAT(
      problems,
      ElementsAre("s.yaml:10:21: readouts[1]: unknown value 'rank' (known: answer_rank, kl)",
                  "s.yaml:10:22: readouts[2]: is a key of its own beside `readouts`, such "
                  "as top_k: 5",
                  "s.yaml:10:23: readouts[3]: names 'kl' twice",
                  "s.yaml:11:5: top_k: must be a whole number from 1 to 10000, not '0'"));
  EXPECT_EQ(failure([] { Readouts{.top_k = 101}.check(small_model(1, 1)); }),
            "usage: `top_k` is 101, but the model's vocabulary has 100 tokens");
}

class ReadoutsRun : public testing::Test {
 protected:
  RunPointer bind_run(const std::string& kind, const Json& json) {
    return ParsedExperiment(kind, json).bind(model_, prompts_);
  }
  /// The block of an array, found by its name.
  template <typename T>
  std::vector<T> values(const mechsweep::Run& run, const UnitResult& result,
                        const std::string& name) {
    const auto arrays = run.arrays();
    for (const ArrayBlock& block : result.blocks)
      if (arrays.at(block.array).name == name) return values_of<T>(block);
    ADD_FAILURE() << name << " is not computed";
    return {};
  }

  ModelConfig model_ = small_model(2, 2);
  PromptSet prompts_ = ragged_prompts();
  SpellingExecutor executor_{model_};
};

TEST_F(ReadoutsRun, EveryReadoutIsStoredWhereItHasAMeaning) {
  const RunPointer run = bind_run("activation_patching", {{"site", "resid_pre"},
                                                          {"direction", "clean_to_corrupt"},
                                                          {"positions", {0}},
                                                          {"readouts", {"answer_rank", "kl"}},
                                                          {"top_k", 2}});
  std::vector<std::string> names;
  for (const ArraySpec& array : run->arrays()) names.push_back(array.name);
  EXPECT_THAT(names,
              ElementsAre("base/loss", "base/logit", "base/logit_mean", "base/logsumexp",
                          "base/top1", "base/answer_rank", "base/top_token", "base/top_logit",
                          "base/tracked_token", "donor/loss", "donor/logit", "donor/logit_mean",
                          "donor/logsumexp", "donor/top1", "donor/answer_rank", "donor/top_token",
                          "donor/top_logit", "loss", "logit", "logit_mean", "logsumexp", "top1",
                          "answer_rank", "kl_base", "kl_donor", "top_token", "top_logit"));
  const UnitResult references = run->execute(0, {1, 2}, {0, 1}, executor_);
  ASSERT_EQ(references.blocks.size(), 27U);
  for (int i = 0; i < 27; ++i) EXPECT_EQ(references.blocks[i].array, i);
  EXPECT_THAT(values<int32_t>(*run, references, "donor/answer_rank"), ElementsAre(10, 12));
  EXPECT_THAT(values<int32_t>(*run, references, "base/tracked_token"),
              ElementsAre(21, 22, -1, 31, -1, -1));
  const UnitResult edited = run->execute(0, {0, 1}, {1, 2}, executor_);
  EXPECT_EQ(edited.blocks.front().array, 17);
  EXPECT_THAT(values<int32_t>(*run, edited, "answer_rank"), ElementsAre(11, -1));
  // The base is the corrupt run here; a target that the prompt lacks has no number.
  EXPECT_EQ(values<double>(*run, edited, "kl_base")[0], 0.5);
  EXPECT_EQ(values<double>(*run, edited, "kl_donor")[0], 0.25);
  EXPECT_TRUE(std::isnan(values<double>(*run, edited, "kl_donor")[1]));
  EXPECT_THAT(values<int32_t>(*run, edited, "top_token"), ElementsAre(0, 1, -1, -1));
  EXPECT_EQ(values<float>(*run, edited, "top_logit")[1], 1.0F);
  EXPECT_EQ(edited.non_finite, 0);
}

TEST_F(ReadoutsRun, WithoutADonorKlIsAgainstTheBaseAlone) {
  const RunPointer run = bind_run(
      "head_ablation", {{"operation", "zero"}, {"positions", "all"}, {"readouts", {"kl"}}});
  std::vector<std::string> names;
  for (const ArraySpec& array : run->arrays())
    if (array.name.find("kl") != std::string::npos) names.push_back(array.name);
  EXPECT_THAT(names, ElementsAre("kl_base"));
}

TEST_F(ReadoutsRun, NumbersThatAreNoneAreCounted) {
  const RunPointer run = bind_run("head_ablation", {{"operation", "zero"}, {"positions", "each"}});
  // Prompt a has 2 positions of 3 and 1 target of 2: what does not apply is NaN and not counted.
  UnitResult result = run->execute(0, {0, 1}, {0, 2}, executor_);
  EXPECT_EQ(result.non_finite, 0);
  executor_.broken = "clean 7,8,7|z L1 H0 P2 zero";
  result = run->execute(0, {0, 2}, {0, 2}, executor_);
  // Its loss and logsumexp, for both targets of prompt b.
  EXPECT_EQ(result.non_finite, 4);
  executor_.broken = "clean 5,6";
  EXPECT_EQ(run->execute(0, {0, 2}, {0, 1}, executor_).non_finite, 2);
}

}  // namespace
}  // namespace mechsweep
