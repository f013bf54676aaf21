// The same task gives the same bits whatever is computed beside it.

#include <cstring>
#include <numeric>

#include <gtest/gtest.h>

#include "core/random.h"
#include "engine_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

void expect_same_bits(const std::vector<Reading>& left, const std::vector<Reading>& right,
                      const std::string& what) {
  ASSERT_EQ(left.size(), right.size()) << what;
  const auto same = [](const auto& a, const auto& b) { return std::memcmp(&a, &b, sizeof a) == 0; };
  for (size_t i = 0; i < left.size(); ++i) {
    ASSERT_EQ(left[i].tracked_logits.size(), right[i].tracked_logits.size()) << what;
    EXPECT_EQ(std::memcmp(left[i].tracked_logits.data(), right[i].tracked_logits.data(),
                          left[i].tracked_logits.size() * sizeof(float)),
              0)
        << what;
    EXPECT_TRUE(same(left[i].logit_mean, right[i].logit_mean)) << what;
    EXPECT_TRUE(same(left[i].logsumexp, right[i].logsumexp)) << what;
    EXPECT_EQ(left[i].top1, right[i].top1) << what;
  }
}

std::vector<int32_t> random_subset(RandomStream& random, int32_t population) {
  auto drawn = random.sample_without_replacement(
      static_cast<uint32_t>(population), 1 + random.below(static_cast<uint32_t>(population)));
  return ascending({drawn.begin(), drawn.end()});
}

Edit random_edit(RandomStream& random, const ModelConfig& config, const TestPrompt& prompt) {
  const SiteInfo& info = site_table()[random.below(kSiteCount)];
  const int heads = site_head_count(info.site, config);
  Edit edit{.site = info.site,
            .layer = static_cast<int>(random.below(static_cast<uint32_t>(config.n_layers))),
            .positions = random_subset(random, prompt.length()),
            .operation = random.below(3) == 0 ? Operation::zero : Operation::replace,
            .donor = {.side = random.below(2) == 0 ? Side::clean : Side::corrupt}};
  if (heads > 0) edit.heads = random_subset(random, heads);
  return edit;
}

struct Case {
  const char* model;
  const char* prompts;
  KernelSet kernels;
};

class Invariance : public ::testing::TestWithParam<Case> {
 protected:
  Invariance()
      : checkpoint_(open_checkpoint(golden_path(GetParam().model))),
        prompts_(read_prompts(GetParam().prompts)),
        views_(views(prompts_)) {
    RandomStream random(7, "tests/invariance");
    for (int i = 0; i < 60; ++i) {
      const auto p = random.below(static_cast<uint32_t>(prompts_.size()));
      Task task{.prompt = static_cast<int32_t>(p),
                .intervention = {.base = random.below(2) == 0 ? Side::clean : Side::corrupt},
                .reads = prompts_[p].reads};
      for (uint32_t edits = random.below(4); edits > 0; --edits)
        task.intervention.edits.push_back(random_edit(random, checkpoint_.config, prompts_[p]));
      tasks_.push_back(std::move(task));
    }
  }

  [[nodiscard]] LoadedModel load(int threads) const {
    return LoadedModel(checkpoint_, threads, GetParam().kernels);
  }

  /// Memory for so many rows.
  [[nodiscard]] int64_t memory_for(int64_t rows) const {
    const ModelConfig& config = checkpoint_.config;
    return rows * 8 *
           (config.d_model +
            int64_t{2 * config.n_heads + 2 * config.n_kv_heads} * config.head_size);
  }

  Checkpoint checkpoint_;
  std::vector<TestPrompt> prompts_;
  std::vector<PromptTokens> views_;
  std::vector<Task> tasks_;
};

TEST_P(Invariance, AloneOrInABatch) {
  LoadedModel model = load(1);
  const auto together = model.run(views_, tasks_);
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const auto alone = model.run(views_, std::span(tasks_).subspan(i, 1));
    expect_same_bits(together[i], alone[0], fmt::format("task {}", i));
  }
}

TEST_P(Invariance, AnyOrderChunkingAndThreadCount) {
  LoadedModel reference = load(1);
  const auto expected = reference.run(views_, tasks_);
  for (const int threads : {1, 2, 3}) {
    LoadedModel model = load(threads);
    for (uint64_t draw = 0; draw < 3; ++draw) {
      const auto order =
          RandomStream(11, "tests/order", draw).permutation(static_cast<uint32_t>(tasks_.size()));
      std::vector<Task> shuffled;
      for (const uint32_t i : order) shuffled.push_back(tasks_[i]);
      // 1: one panel of rows at a time, the least there is.
      for (const int64_t rows : {1, 200, 100'000}) {
        const auto found = model.run(views_, shuffled, memory_for(rows));
        for (size_t i = 0; i < order.size(); ++i)
          expect_same_bits(found[i], expected[order[i]],
                           fmt::format("task {}, {} threads, {} rows", order[i], threads, rows));
      }
    }
  }
}

/// A copy of the task at every place of a panel, pushed along by prompts of other lengths.
TEST_P(Invariance, AnyPlaceInThePanel) {
  LoadedModel model = load(1);
  const auto alone = model.run(views_, std::span(tasks_).subspan(0, 1));
  std::vector<Task> batch;
  for (size_t i = 0; i < 80; ++i) {
    batch.push_back(tasks_[0]);
    batch.push_back(tasks_[1 + i % (tasks_.size() - 1)]);
  }
  const auto found = model.run(views_, batch);
  for (size_t i = 0; i < batch.size(); i += 2)
    expect_same_bits(found[i], alone[0], fmt::format("copy {}", i / 2));
}

TEST_P(Invariance, DonorEqualToTheBaseChangesNothing) {
  LoadedModel model = load(1);
  for (size_t p = 0; p < prompts_.size(); ++p) {
    std::vector<Task> tasks;
    for (const Side side : {Side::clean, Side::corrupt}) {
      tasks.push_back({.prompt = static_cast<int32_t>(p),
                       .intervention = {.base = side},
                       .reads = prompts_[p].reads});
      for (const SiteInfo& info : site_table())
        for (int layer = 0; layer < model.config().n_layers; ++layer) {
          Edit edit{.site = info.site,
                    .layer = layer,
                    .positions = all_positions(prompts_[p]),
                    .operation = Operation::replace,
                    .donor = {.side = side}};
          for (int head = 0; head < site_head_count(info.site, model.config()); ++head)
            edit.heads.push_back(head);
          tasks.push_back({.prompt = static_cast<int32_t>(p),
                           .intervention = {side, {edit}},
                           .reads = prompts_[p].reads});
        }
    }
    const auto readings = model.run(views_, tasks);
    for (size_t i = 0; i < tasks.size(); ++i) {
      const size_t base = tasks[i].intervention.base == Side::clean ? 0 : tasks.size() / 2;
      expect_same_bits(readings[i], readings[base], fmt::format("prompt {} task {}", p, i));
    }
  }
}

TEST_P(Invariance, ReplacingTheWholeStreamGivesTheDonorsResult) {
  LoadedModel model = load(1);
  for (size_t p = 0; p < prompts_.size(); ++p) {
    const auto prompt = static_cast<int32_t>(p);
    std::vector<Task> tasks{{prompt, {.base = Side::clean}, prompts_[p].reads}};
    for (const Site site : {Site::resid_pre, Site::resid_mid, Site::resid_post})
      for (int layer = 0; layer < model.config().n_layers; ++layer)
        tasks.push_back({prompt,
                         {Side::corrupt,
                          {{.site = site,
                            .layer = layer,
                            .positions = all_positions(prompts_[p]),
                            .operation = Operation::replace,
                            .donor = {.side = Side::clean}}}},
                         prompts_[p].reads});
    const auto readings = model.run(views_, tasks);
    for (size_t i = 1; i < tasks.size(); ++i)
      expect_same_bits(readings[i], readings[0], fmt::format("prompt {} task {}", p, i));
  }
}

TEST_P(Invariance, PositionsBeforeThePromptsDivergeGiveNothing) {
  LoadedModel model = load(1);
  size_t tried = 0;
  for (size_t p = 0; p < prompts_.size(); ++p) {
    std::vector<int32_t> shared;
    while (shared.size() < prompts_[p].tokens.size() &&
           prompts_[p].tokens[shared.size()] == prompts_[p].corrupt[shared.size()])
      shared.push_back(static_cast<int32_t>(shared.size()));
    if (shared.empty()) continue;
    for (const SiteInfo& info : site_table()) {
      if (info.heads != SiteHeads::none) continue;
      const std::vector<Task> tasks{
          {static_cast<int32_t>(p), {.base = Side::corrupt}, prompts_[p].reads},
          {static_cast<int32_t>(p),
           {Side::corrupt,
            {{.site = info.site,
              .layer = model.config().n_layers - 1,
              .positions = shared,
              .operation = Operation::replace,
              .donor = {.side = Side::clean}}}},
           prompts_[p].reads}};
      const auto readings = model.run(views_, tasks);
      expect_same_bits(readings[1], readings[0], fmt::format("prompt {} {}", p, info.name));
      ++tried;
    }
  }
  EXPECT_GE(tried, 10U);
}

/// An edit after the position that is read cannot reach it.
TEST_P(Invariance, LaterPositionsCannotReachAnEarlierTarget) {
  LoadedModel model = load(1);
  TestPrompt prompt = prompts_.back();
  prompt.reads = {{.position = 4, .tracked = {0, 1, 2}}};
  std::vector<int32_t> later(prompt.length() - 5);
  std::iota(later.begin(), later.end(), 5);
  const std::vector<PromptTokens> view{prompt.view()};
  const std::vector<Task> tasks{
      {0, {}, prompt.reads},
      {0, {Side::clean, {{.site = Site::resid_pre, .positions = later}}}, prompt.reads}};
  const auto readings = model.run(view, tasks);
  expect_same_bits(readings[1], readings[0], "later positions");
}

INSTANTIATE_TEST_SUITE_P(
    Checkpoints, Invariance,
    ::testing::Values(
        Case{"checkpoints/llama-random", "prompts/random_llama.jsonl", KernelSet::onednn},
        Case{"checkpoints/llama-random-sharded", "prompts/random_llama.jsonl", KernelSet::onednn},
        Case{"checkpoints/gpt2-random", "prompts/random_gpt2.jsonl", KernelSet::onednn},
        Case{"checkpoints/llama-random", "prompts/random_llama.jsonl", KernelSet::aten},
        Case{"checkpoints/gpt2-random", "prompts/random_gpt2.jsonl", KernelSet::aten}),
    [](const auto& param_info) {
      std::string name = std::string(param_info.param.model).substr(sizeof "checkpoints/" - 1);
      std::replace(name.begin(), name.end(), '-', '_');
      return fmt::format("{}_{}", name, kernel_set_name(param_info.param.kernels));
    });

}  // namespace
}  // namespace mechsweep
