// Every edit of the goldens on both executors: the numbers of the reference in double precision,
// and the same bits from both (tests/golden/README.md, "The edit goldens").

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "core/group.h"
#include "core/thread_pool.h"
#include "engine/random_tasks.h"
#include "experiments/bound_interventions.h"
#include "experiments/intervention_file.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "prompts/prompt_line.h"
#include "unit/experiments/golden_support.h"

namespace mechsweep {
namespace {

using test_experiments::golden_path;

/// The reference's own fp32 lies up to 1.8e-5 from its fp64 on these inputs, and ours rounds in
/// other places.
constexpr double kTolerance = 5e-5;
constexpr int64_t kMemory = int64_t{1} << 30;

/// One set of a golden file: its prompts, interventions and what is read of each prompt.
class GoldenSet {
 public:
  GoldenSet(const Json& golden, const ModelConfig& config)
      : golden_(golden),
        path_(golden_path("edits/" + golden.at("interventions").get<std::string>())),
        base_(golden.at("base") == "clean" ? Side::clean : Side::corrupt) {
    set_.id = "p";
    std::ifstream lines(golden_path(golden.at("prompts")));
    for (std::string line; std::getline(lines, line);)
      set_.prompts.push_back(prompt_from_json(parse_prompt_json(line), {}));
    for (const Prompt& prompt : set_.prompts)
      tokens_.push_back({prompt.tokens, prompt.corrupt_tokens});
    context_ = {.run_id = "e/m/p", .model = &config, .prompts = &set_};
    reads_.resize(set_.prompts.size());
    const Json& targets = golden.at("targets");
    for (size_t i = 0; i < targets.at("prompt").size(); ++i)
      reads_.at(targets.at("prompt")[i])
          .push_back({.position = targets.at("at")[i],
                      .tracked = targets.at("tracked")[i].get<std::vector<int32_t>>(),
                      .rank = true,
                      .kl = {base_}});
  }

  /// The unedited run of every prompt, then every intervention on every prompt. Means are taken
  /// over runs of the executor itself.
  std::vector<TaskResult> run(Executor& executor) {
    const BoundInterventions bound(context_, base_, path_, read_intervention_file(path_));
    EXPECT_EQ(bound.listed().size(), golden_.at("edited").size());
    tasks_.clear();
    for (size_t p = 0; p < reads_.size(); ++p) add_task(p, {.base = base_});
    for (int64_t i = 0; i < std::ssize(bound.listed()); ++i)
      for (size_t p = 0; p < reads_.size(); ++p)
        add_task(p, bound.on_prompt(static_cast<int64_t>(p), i, &executor));
    return executor.run(tokens_, tasks_);
  }

  /// Compares with the reference; gives the largest difference.
  double compare(const std::vector<TaskResult>& results) {
    largest_ = 0.0;
    const Json& edited = golden_.at("edited");
    compare_run(results, 0, golden_.at("base_run"));
    for (size_t i = 0; i < edited.size(); ++i) {
      SCOPED_TRACE(edited[i].at("id").get<std::string>());
      compare_run(results, (i + 1) * reads_.size(), edited[i]);
    }
    return largest_;
  }

  [[nodiscard]] const std::vector<Task>& tasks() const { return tasks_; }
  [[nodiscard]] size_t interventions() const { return golden_.at("edited").size(); }
  [[nodiscard]] std::string id(size_t task) const {
    const size_t number = task / reads_.size();
    return number == 0 ? "base" : golden_.at("edited")[number - 1].at("id").get<std::string>();
  }

 private:
  void add_task(size_t prompt, Intervention intervention) {
    tasks_.push_back({.prompt = static_cast<int32_t>(prompt),
                      .intervention = std::move(intervention),
                      .reads = reads_[prompt]});
  }

  void near(double found, const Json& known, const std::string& what) {
    EXPECT_NEAR(found, known.get<double>(), kTolerance) << what;
    largest_ = std::max(largest_, std::abs(found - known.get<double>()));
  }

  /// One run of all prompts; the golden's lists go through all targets in the prompts' order.
  void compare_run(const std::vector<TaskResult>& results, size_t first_task, const Json& known) {
    std::set<size_t> close;
    if (known.contains("close")) close = known.at("close").get<std::set<size_t>>();
    size_t target = 0;
    size_t logit = 0;
    for (size_t p = 0; p < reads_.size(); ++p)
      for (const Reading& reading : results.at(first_task + p).readings) {
        const std::string what = fmt::format("target {}", target);
        near(reading.loss(), known.at("loss").at(target), what + " loss");
        near(reading.logsumexp, known.at("logsumexp").at(target), what + " logsumexp");
        near(reading.logit_mean, known.at("vocab_mean").at(target), what + " mean");
        if (known.contains("kl")) near(reading.kl.at(0), known.at("kl").at(target), what + " KL");
        for (const float tracked : reading.tracked_logits)
          near(tracked, known.at("logits").at(logit++), what + " logit");
        if (!close.contains(target)) {
          EXPECT_EQ(reading.top1, known.at("top1").at(target)) << what;
          EXPECT_EQ(reading.answer_rank, known.at("answer_rank").at(target)) << what;
        }
        ++target;
      }
    EXPECT_EQ(target, known.at("loss").size());
    EXPECT_EQ(logit, known.at("logits").size());
  }

  const Json& golden_;
  std::string path_;
  Side base_;
  PromptSet set_;
  std::vector<PromptTokens> tokens_;
  RunContext context_;
  std::vector<std::vector<ReadPoint>> reads_;  ///< by prompt
  std::vector<Task> tasks_;
  double largest_ = 0.0;
};

class GoldenEdits : public testing::TestWithParam<std::string> {
 protected:
  GoldenEdits() : checkpoint_(open_checkpoint(golden_path("checkpoints/" + GetParam()))), pool_(1) {
    std::ifstream file(golden_path("edits/" + GetParam() + ".json"));
    golden_ = Json::parse(file);
  }

  static void expect_same(const GoldenSet& set, const std::vector<TaskResult>& naive,
                          const std::vector<TaskResult>& wavefront) {
    ASSERT_EQ(naive.size(), wavefront.size());
    for (size_t i = 0; i < naive.size(); ++i)
      EXPECT_TRUE(same_bits(naive[i], wavefront[i]))
          << set.id(i) << ", prompt " << set.tasks()[i].prompt;
  }

  Checkpoint checkpoint_;
  Json golden_;
  SoloGroup group_;
  ThreadPool pool_;
};

TEST_P(GoldenEdits, BothExecutorsGiveTheReferencesNumbers) {
  const Model model(checkpoint_, group_, {});
  size_t interventions = 0;
  for (const Json& golden : golden_.at("sets")) {
    SCOPED_TRACE(golden.at("name").get<std::string>());
    GoldenSet set(golden, model.config());
    const auto naive = set.run(*make_naive_executor(model, pool_, kMemory));
    RecordProperty("largest_" + golden.at("name").get<std::string>(),
                   fmt::format("{:.2e}", set.compare(naive)));
    const auto wavefront = set.run(*make_wavefront_executor(model, pool_, kMemory));
    (void)set.compare(wavefront);
    expect_same(set, naive, wavefront);
    interventions += set.interventions();
  }
  EXPECT_EQ(golden_.at("sets").size(), 4U);
  EXPECT_EQ(interventions, 172U);
}

TEST_P(GoldenEdits, BothExecutorsAgreeInReducedPrecision) {
  const Model model(checkpoint_, group_, {.type = ComputeType::bfloat16});
  for (const Json& golden : golden_.at("sets")) {
    SCOPED_TRACE(golden.at("name").get<std::string>());
    GoldenSet set(golden, model.config());
    const auto naive = set.run(*make_naive_executor(model, pool_, kMemory));
    expect_same(set, naive, set.run(*make_wavefront_executor(model, pool_, kMemory)));
  }
}

/// What a file says must change nothing changes no bit of what is read; all else does.
TEST_P(GoldenEdits, WhatHasNoEffectLeavesEveryBit) {
  const Model model(checkpoint_, group_, {});
  for (const Json& golden : golden_.at("sets")) {
    const auto idle = golden.value("without_effect", std::set<std::string>());
    GoldenSet set(golden, model.config());
    const auto results = set.run(*make_wavefront_executor(model, pool_, kMemory));
    const size_t prompts = results.size() / (set.interventions() + 1);
    for (size_t i = prompts; i < results.size(); i += prompts) {
      bool same = true;
      for (size_t p = 0; p < prompts; ++p) same &= same_bits(results[i + p], results[p]);
      EXPECT_EQ(same, idle.contains(set.id(i))) << golden.at("name") << " " << set.id(i);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RandomModels, GoldenEdits,
                         testing::Values("llama-random", "llama-random-sharded", "gpt2-random"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace mechsweep
