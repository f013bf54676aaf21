// Gemma 3 270M (Q4_K_M) against transformers: base runs, attention scores, heads at zero, on
// prompts shorter and longer than the window that five layers of six have. Made by
// tests/golden/golden_gemma3.py. Skipped where scripts/fetch_model.sh gemma3-270m has not run.

#include <gtest/gtest.h>

#include "engine/random_tasks.h"
#include "real_model.h"

namespace mechsweep {
namespace {

using namespace test_engine;

constexpr size_t kWindow = 512;

struct HeadRow {
  std::string positions;
  int layer;
  int head;
  size_t prompt;
  size_t target;
  double delta_loss;
};

class SlowGemma3 : public ::testing::Test {
 protected:
  /// Loads the model once for all tests here.
  static void SetUpTestSuite() { model_ = load_real_model("gemma3-270m/gemma-3-270m-q4_k_m.gguf"); }
  static void TearDownTestSuite() { model_.reset(); }

  void SetUp() override {
    if (!model_)
      GTEST_SKIP() << "models/gemma3-270m/gemma-3-270m-q4_k_m.gguf is not there; "
                      "scripts/fetch_model.sh gemma3-270m fetches it";
  }

  /// The executors, to be asked for the same.
  static std::vector<std::unique_ptr<Executor>> both() {
    std::vector<std::unique_ptr<Executor>> executors;
    executors.push_back(model_->naive());
    executors.push_back(model_->wavefront());
    return executors;
  }

  static std::vector<Task> base_tasks(const std::vector<TestPrompt>& prompts) {
    std::vector<Task> tasks;
    for (size_t p = 0; p < prompts.size(); ++p)
      tasks.push_back(
          {.prompt = static_cast<int32_t>(p), .intervention = {}, .reads = prompts[p].reads});
    return tasks;
  }

  static Task zeroed(const std::vector<TestPrompt>& prompts, const HeadRow& row) {
    const TestPrompt& prompt = prompts.at(row.prompt);
    return {.prompt = static_cast<int32_t>(row.prompt),
            .intervention = {Side::clean,
                             {{.site = Site::z,
                               .layer = row.layer,
                               .heads = {row.head},
                               .positions = positions_of(prompt, row.positions)}}},
            .reads = prompt.reads};
  }

  static void compare_base(Executor& executor, const std::vector<TestPrompt>& prompts,
                           const Json& golden, double largest_logit) {
    SCOPED_TRACE(executor.name());
    std::vector<std::vector<Reading>> readings;
    for (TaskResult& result : executor.run(views(prompts), base_tasks(prompts)))
      readings.push_back(std::move(result.readings));
    expect_base(readings, golden, largest_logit);
  }

  static void compare_scores(Executor& executor, const std::vector<TestPrompt>& prompts,
                             const Json& scores, HeadScores::KeysOf keys_of) {
    const ModelConfig& config = model_->config();
    HeadScores observer(static_cast<int64_t>(prompts.size()), config.n_layers, config.n_heads,
                        std::move(keys_of));
    executor.run(views(prompts), base_tasks(prompts), &observer);
    ASSERT_EQ(scores.size(), prompts.size());
    SCOPED_TRACE(executor.name());
    for (size_t p = 0; p < prompts.size(); ++p)
      if (!scores[p].is_null()) expect_scores(observer, static_cast<int64_t>(p), scores[p], config);
  }

  static void compare_ablations(const std::vector<HeadRow>& rows);

  static inline std::unique_ptr<LoadedModel> model_;
};

TEST_F(SlowGemma3, BaseRunsOfBothExecutorsAgreeWithTransformers) {
  const Json golden = read_golden("gemma3_base.json");
  const auto prompts = read_prompts(golden.at("prompts"));
  EXPECT_GT(prompts.back().tokens.size(), kWindow + 100);
  double largest = 0.0;
  for (const Json& one : golden.at("full_logits"))
    largest = std::max(largest, one.at("largest_magnitude").get<double>());
  for (const auto& executor : both()) compare_base(*executor, prompts, golden.at("base"), largest);
}

TEST_F(SlowGemma3, LogitsOfManyTokensAgreeWithTransformers) {
  const Json golden = read_golden("gemma3_base.json");
  const auto prompts = read_prompts(golden.at("prompts"));
  ASSERT_EQ(golden.at("full_logits").size(), 2U);
  for (const Json& one : golden.at("full_logits")) {
    const Json& exact = one.at("fp64");
    ReadPoint point{.position = one.at("at")};
    for (size_t i = 0; i < exact.size(); ++i)
      point.tracked.push_back(static_cast<int32_t>(i) * one.at("stride").get<int32_t>());
    EXPECT_GE(point.tracked.size(), 1000U);
    const std::vector<ReadPoint> reads{point};
    const std::vector<Task> tasks{{.prompt = one.at("prompt"), .intervention = {}, .reads = reads}};
    const Reading reading = model_->wavefront()->run(views(prompts), tasks).at(0).readings.at(0);
    const double room = kLogitPromise * one.at("largest_magnitude").get<double>();
    for (size_t i = 0; i < exact.size(); ++i)
      EXPECT_NEAR(reading.tracked_logits[i], exact[i].get<double>(), room)
          << "token " << point.tracked[i];
    EXPECT_EQ(reading.top1, one.at("argmax").get<int32_t>());
  }
}

TEST_F(SlowGemma3, AttentionScoresAgreeWithTransformers) {
  const Json golden = read_golden("gemma3_scores.json");
  const auto prompts = read_prompts(golden.at("prompts"));
  ASSERT_EQ(golden.at("window").get<size_t>(), kWindow);
  ASSERT_GT(prompts.back().tokens.size(), kWindow + 100);
  const Json& exact = golden.at("fp64");
  const auto executors = both();
  for (const auto& executor : executors)
    for (const auto& [name, offset] : {std::pair{"duplicate_token", 0}, {"induction", 1}})
      compare_scores(*executor, prompts, exact.at(name), [&, at = offset](int64_t task, int64_t q) {
        return latest_occurrence(prompts[task].tokens, q, at);
      });
  Executor& executor = *executors.back();
  compare_scores(executor, prompts, exact.at("previous_token"),
                 [](int64_t, int64_t query) { return std::vector<int64_t>{query - 1}; });
  compare_scores(executor, prompts, exact.at("beyond_window"), [](int64_t, int64_t query) {
    std::vector<int64_t> keys;
    for (int64_t key = 0; key <= query - static_cast<int64_t>(kWindow); ++key) keys.push_back(key);
    return keys;
  });
}

/// The fp64 column.
std::vector<HeadRow> read_heads(size_t first_prompt, size_t last_prompt) {
  std::ifstream file(golden_path("gemma3_head_ablation.csv"));
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "positions,layer,head,prompt,target,delta_loss,delta_loss_fp64");
  std::vector<HeadRow> rows;
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    const size_t prompt = std::stoul(cells.at(3));
    if (prompt < first_prompt || prompt > last_prompt) continue;
    rows.push_back({cells.at(0), std::stoi(cells.at(1)), std::stoi(cells.at(2)), prompt,
                    std::stoul(cells.at(4)), std::stod(cells.at(6))});
  }
  return rows;
}

void SlowGemma3::compare_ablations(const std::vector<HeadRow>& rows) {
  const auto prompts = read_prompts("prompts/gemma3_mixed.jsonl");
  auto tasks = base_tasks(prompts);
  for (const HeadRow& row : rows)
    if (row.target == 0) tasks.push_back(zeroed(prompts, row));
  const auto results = model_->wavefront()->run(views(prompts), tasks);
  size_t task = prompts.size() - 1;
  double largest = 0.0;
  for (const HeadRow& row : rows) {
    if (row.target == 0) ++task;
    const double delta = results.at(task).readings.at(row.target).loss() -
                         results.at(row.prompt).readings.at(row.target).loss();
    EXPECT_NEAR(delta, row.delta_loss, kLossPromise)
        << fmt::format("L{}H{} at {} positions of prompt {}, target {}", row.layer, row.head,
                       row.positions, row.prompt, row.target);
    largest = std::max(largest, std::abs(delta - row.delta_loss));
  }
  EXPECT_EQ(task + 1, results.size());
  RecordProperty("largest_delta_difference_nats", fmt::format("{:.2e}", largest));
}

TEST_F(SlowGemma3, EveryHeadAblatedInShortPromptsAgreesWithTransformers) {
  const auto rows = read_heads(0, 2);
  ASSERT_EQ(rows.size(), 2U * 72U * 8U);
  compare_ablations(rows);
}

TEST_F(SlowGemma3, HeadsAblatedInAPromptLongerThanTheWindowAgreeWithTransformers) {
  const auto rows = read_heads(3, 3);
  ASSERT_EQ(rows.size(), 2U * 24U * 5U);
  compare_ablations(rows);
}

TEST_F(SlowGemma3, BothExecutorsGiveTheSameBits) {
  const auto prompts = read_prompts("prompts/gemma3_mixed.jsonl");
  auto tasks = base_tasks(prompts);
  for (size_t p = 0; p < prompts.size(); ++p) {
    tasks.push_back(zeroed(prompts, {"all", 4, 1, p, 0, 0.0}));
    tasks.push_back(zeroed(prompts, {"targets", 11, 3, p, 0, 0.0}));
  }
  const auto executors = both();
  const auto expected = executors[0]->run(views(prompts), tasks);
  const auto found = executors[1]->run(views(prompts), tasks);
  for (size_t i = 0; i < tasks.size(); ++i)
    EXPECT_TRUE(same_bits(found[i], expected[i])) << "task " << i;
}

}  // namespace
}  // namespace mechsweep
