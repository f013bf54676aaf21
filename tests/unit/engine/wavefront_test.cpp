// The wavefront executor gives the bits of whole forward passes: interventions drawn at random over
// every site and operation, on models of both families and in every arithmetic.

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "core/random.h"
#include "engine/random_tasks.h"
#include "engine/wavefront_memory.h"
#include "engine_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

struct Case {
  const char* checkpoint;
  KernelSet kernels;
  ComputeType type;
};

std::string describe(const Task& task) {
  std::string text =
      fmt::format("prompt {} base {} {}", task.prompt, side_name(task.intervention.base),
                  downstream_name(task.intervention.downstream));
  for (const Edit& edit : task.intervention.edits)
    text += fmt::format(
        "; {} {} layer {} heads [{}] positions [{}] edges {} donor {} {} vector {} leave_out {}",
        operation_name(edit.operation), site_info(edit.site).name, edit.layer,
        fmt::join(edit.heads, " "), fmt::join(edit.positions, " "), edit.edges.size(),
        edit.donor.prompt, side_name(edit.donor.side), edit.vector != nullptr, edit.leave_out);
  for (const ReadPoint& point : task.reads) text += fmt::format("; read {}", point.position);
  for (const ActivationPoint& point : task.activations)
    text += fmt::format("; keep {} {} {}", site_info(point.site).name, point.layer, point.position);
  return text;
}

/// The least budget that every task fits in alone.
int64_t largest_task_bytes(const RandomTasks& work, const ModelConfig& config, int threads) {
  int64_t largest = 0;
  for (size_t i = 0; i < work.tasks().size(); ++i) {
    const auto task = std::span(work.tasks()).subspan(i, 1);
    TaskResult room;
    const StreamForest forest(work.prompts(), task, config, false, {&room, 1});
    largest = std::max(largest, memory_of(forest, task).bytes(config, threads));
  }
  return largest;
}

class Wavefront : public ::testing::TestWithParam<Case> {
 protected:
  Wavefront() : checkpoint_(open_checkpoint(golden_path(GetParam().checkpoint))) {}

  [[nodiscard]] LoadedModel load(int threads) const {
    return LoadedModel(checkpoint_, threads, GetParam().kernels, GetParam().type);
  }

  static void expect_same(const std::vector<TaskResult>& found,
                          const std::vector<TaskResult>& expected, std::span<const Task> tasks,
                          const std::string& what) {
    ASSERT_EQ(found.size(), expected.size());
    int failures = 0;
    for (size_t i = 0; i < found.size() && failures < 5; ++i) {
      if (same_bits(found[i], expected[i])) continue;
      ++failures;
      ADD_FAILURE() << what << ", task " << i << ": " << describe(tasks[i]);
    }
  }

  Checkpoint checkpoint_;
};

TEST_P(Wavefront, RandomInterventionsHaveTheBitsOfWholePasses) {
  LoadedModel model = load(1);
  int changed = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    // Every other draw has prompts of three tokens only, which share long prefixes.
    const RandomTasks work(model.config(), seed,
                           {.prompts = 6,
                            .longest = seed % 2 == 0 ? 20 : 6,
                            .tasks = 40,
                            .alphabet = seed % 2 == 0 ? 1 << 20 : 3});
    const auto expected = model.naive()->run(work.prompts(), work.tasks());
    const auto found = model.wavefront()->run(work.prompts(), work.tasks());
    expect_same(found, expected, work.tasks(), fmt::format("seed {}", seed));
    if (HasFailure()) return;
    // The interventions must do something, or equal bits would say nothing.
    for (size_t i = 1; i < expected.size(); ++i)
      if (expected[i].readings[0].logsumexp != expected[0].readings[0].logsumexp) ++changed;
  }
  EXPECT_GT(changed, 60 * 20);
}

/// Sharing goes wrong in rare places, so this draws many dense cases: three tokens, short prompts,
/// interventions that continue each other.
TEST(SlowWavefront, HalfAMillionInterventionsHaveTheBitsOfWholePasses) {
  LoadedModel model(open_checkpoint(golden_path("checkpoints/llama-random")), 1);
  int64_t compared = 0;
  for (uint64_t seed = 0; compared < 500'000; ++seed) {
    const RandomTasks work(model.config(), 5000 + seed,
                           {.prompts = 5, .longest = 6, .tasks = 50, .alphabet = 3});
    const auto expected = model.naive()->run(work.prompts(), work.tasks());
    const auto found = model.wavefront()->run(work.prompts(), work.tasks());
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_TRUE(same_bits(found[i], expected[i]))
          << "seed " << seed << ", task " << i << ": " << describe(work.tasks()[i]);
    compared += static_cast<int64_t>(found.size());
  }
}

TEST_P(Wavefront, AnyOrderChunkingAndThreadCount) {
  LoadedModel reference = load(1);
  const RandomTasks work(reference.config(), 1000, {.prompts = 8, .longest = 16, .tasks = 120});
  const auto expected = reference.naive()->run(work.prompts(), work.tasks());
  const auto count = static_cast<uint32_t>(work.tasks().size());
  for (const int threads : {1, 2, 3}) {
    LoadedModel model = load(threads);
    const int64_t least = largest_task_bytes(work, model.config(), threads);
    for (const int64_t budget : {least, least + 100'000, kAmpleMemory}) {
      const auto order =
          RandomStream(5, "tests/order", static_cast<uint64_t>(budget)).permutation(count);
      std::vector<Task> shuffled;
      std::vector<TaskResult> wanted;
      for (const uint32_t i : order) {
        shuffled.push_back(work.tasks()[i]);
        wanted.push_back(expected[i]);
      }
      const auto found = model.wavefront(budget)->run(work.prompts(), shuffled);
      expect_same(found, wanted, shuffled, fmt::format("{} threads, {} bytes", threads, budget));
    }
  }
}

TEST_P(Wavefront, AloneOrTogether) {
  LoadedModel model = load(1);
  const RandomTasks work(model.config(), 2000, {.prompts = 6, .longest = 20, .tasks = 60});
  const auto together = model.wavefront()->run(work.prompts(), work.tasks());
  for (size_t i = 0; i < work.tasks().size(); ++i) {
    const auto task = std::span(work.tasks()).subspan(i, 1);
    expect_same(model.wavefront()->run(work.prompts(), task), {together[i]}, task, "alone");
  }
}

/// Keeps every pattern it sees.
class Patterns final : public AttentionObserver {
 public:
  void observe(int64_t task, int layer, int head, const float* pattern, int64_t tokens,
               int64_t row_stride) override {
    std::vector<float> rows;
    for (int64_t q = 0; q < tokens; ++q)
      rows.insert(rows.end(), pattern + q * row_stride, pattern + q * row_stride + tokens);
    const std::lock_guard lock(mutex_);
    const bool is_new = seen.try_emplace({task, layer, head}, std::move(rows)).second;
    EXPECT_TRUE(is_new);
  }
  std::map<std::tuple<int64_t, int, int>, std::vector<float>> seen;

 private:
  std::mutex mutex_;
};

TEST_P(Wavefront, ObserversSeeTheSamePatterns) {
  LoadedModel model = load(2);
  const RandomTasks work(model.config(), 3000, {.prompts = 5, .longest = 18, .tasks = 40});
  Patterns expected;
  Patterns found;
  (void)model.naive()->run(work.prompts(), work.tasks(), &expected);
  (void)model.wavefront()->run(work.prompts(), work.tasks(), &found);
  ASSERT_EQ(found.seen.size(), expected.seen.size());
  for (const auto& [key, pattern] : expected.seen) {
    const auto& [task, layer, head] = key;
    EXPECT_EQ(found.seen.at(key), pattern)
        << "layer " << layer << " head " << head << " " << describe(work.tasks()[task]);
    if (HasFailure()) return;
  }
}

TEST_P(Wavefront, ObserversSeeSequencesThatShareTheirBeginnings) {
  LoadedModel model = load(2);
  const std::vector<int32_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4};
  std::vector<PromptTokens> prompts;
  std::vector<Task> tasks;
  // Each sequence reads queries of the shorter ones; some are watched for two tasks.
  for (const size_t length : {20, 3, 17, 9, 17, 3}) {
    tasks.push_back({.prompt = static_cast<int32_t>(prompts.size())});
    prompts.push_back({.clean = std::span(tokens).first(length), .corrupt = {}});
  }
  Patterns expected;
  Patterns found;
  (void)model.naive()->run(prompts, tasks, &expected);
  (void)model.wavefront()->run(prompts, tasks, &found);
  EXPECT_EQ(found.seen, expected.seen);
}

TEST_P(Wavefront, ABudgetForLessThanOneTaskIsRefusedWithTheLeast) {
  LoadedModel model = load(1);
  const RandomTasks work(model.config(), 1, {.prompts = 2, .longest = 8, .tasks = 3});
  try {
    (void)model.wavefront(1000)->run(work.prompts(), work.tasks());
    FAIL() << "it ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_NE(std::string(error.what()).find("raise execution.memory_gib"), std::string::npos)
        << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Wavefront,
    ::testing::Values(
        Case{"checkpoints/llama-random", KernelSet::native, ComputeType::float32},
        Case{"checkpoints/llama-random", KernelSet::native, ComputeType::bfloat16},
        Case{"checkpoints/llama-random", KernelSet::native, ComputeType::float16},
        Case{"checkpoints/llama-random", KernelSet::onednn, ComputeType::float32},
        Case{"checkpoints/llama-random", KernelSet::onednn, ComputeType::bfloat16},
        Case{"checkpoints/llama-random", KernelSet::aten, ComputeType::float32},
        Case{"checkpoints/llama-random-sharded", KernelSet::native, ComputeType::float32},
        Case{"checkpoints/llama-random-sharded", KernelSet::native, ComputeType::bfloat16},
        Case{"checkpoints/gpt2-random", KernelSet::native, ComputeType::float32},
        Case{"checkpoints/gpt2-random", KernelSet::native, ComputeType::bfloat16},
        Case{"checkpoints/gpt2-random", KernelSet::native, ComputeType::float16}),
    [](const auto& instance) {
      std::string name = instance.param.checkpoint;
      name = name.substr(name.find('/') + 1);
      std::replace(name.begin(), name.end(), '-', '_');
      return fmt::format("{}_{}_{}", name, kernel_set_name(instance.param.kernels),
                         compute_type_name(instance.param.type));
    });

}  // namespace
}  // namespace mechsweep
