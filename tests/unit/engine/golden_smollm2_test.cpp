// SmolLM2-135M (Q4_1) against transformers: base runs, attention scores, every head ablated.

#include <gtest/gtest.h>

#include "real_model.h"

namespace mechsweep {
namespace {

using namespace test_engine;

class SlowSmolLm2 : public ::testing::Test {
 protected:
  /// Loads the model once for all tests here.
  static void SetUpTestSuite() {
    model_ = load_real_model("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
  }
  static void TearDownTestSuite() { model_.reset(); }

  void SetUp() override {
    ASSERT_TRUE(model_) << "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf is missing; run "
                           "scripts/fetch_model.sh smollm2-135m";
  }

  static std::vector<Task> base_tasks(const std::vector<TestPrompt>& prompts, Side side) {
    std::vector<Task> tasks;
    for (size_t p = 0; p < prompts.size(); ++p)
      tasks.push_back({.prompt = static_cast<int32_t>(p),
                       .intervention = {.base = side},
                       .reads = prompts[p].reads});
    return tasks;
  }

  static void compare_base(const std::vector<TestPrompt>& prompts, const Json& golden, Side side,
                           double largest_logit) {
    expect_base(model_->run(views(prompts), base_tasks(prompts, side)), golden, largest_logit);
  }

  static void compare_scores(const std::vector<TestPrompt>& prompts, const Json& scores,
                             HeadScores::KeysOf keys_of) {
    const ModelConfig& config = model_->config();
    HeadScores observer(static_cast<int64_t>(prompts.size()), config.n_layers, config.n_heads,
                        std::move(keys_of));
    model_->run(views(prompts), base_tasks(prompts, Side::clean), kAmpleMemory, &observer);
    for (size_t p = 0; p < prompts.size(); ++p)
      expect_scores(observer, static_cast<int64_t>(p), scores.at(p), config);
  }

  static void compare_ablations(const std::string& positions);

  static inline std::unique_ptr<LoadedModel> model_;
};

TEST_F(SlowSmolLm2, BaseRunsAgreeWithTransformers) {
  const Json golden = read_golden("smollm2_base.json");
  const double largest = golden.at("full_logits").at("fp64").at("largest_magnitude");
  size_t sets = 0;
  for (const auto& [name, set] : golden.at("sets").items()) {
    const auto prompts = read_prompts(set.at("prompts"));
    compare_base(prompts, set.at("base"), Side::clean, largest);
    if (set.contains("corrupt")) compare_base(prompts, set.at("corrupt"), Side::corrupt, largest);
    ++sets;
  }
  EXPECT_GE(sets, 2U);
}

TEST_F(SlowSmolLm2, LogitsOfManyTokensAgreeWithTransformers) {
  const Json golden = read_golden("smollm2_base.json").at("full_logits");
  auto prompts = read_prompts(golden.at("prompts"));
  ReadPoint point{.position = golden.at("at")};
  for (int32_t token = 0; token < 2000; ++token) point.tracked.push_back(token);
  const std::vector<ReadPoint> reads{point};
  const std::vector<Task> tasks{
      {.prompt = golden.at("prompt"), .intervention = {}, .reads = reads}};
  const Reading reading = model_->run(views(prompts), tasks).at(0).at(0);
  const double room = kLogitPromise * golden.at("fp64").at("largest_magnitude").get<double>();
  const Json& exact = golden.at("fp64").at("first_2000");
  ASSERT_EQ(exact.size(), 2000U);
  for (size_t token = 0; token < exact.size(); ++token)
    EXPECT_NEAR(reading.tracked_logits[token], exact[token].get<double>(), room);
  EXPECT_EQ(reading.top1, golden.at("fp64").at("argmax").get<int32_t>());
}

TEST_F(SlowSmolLm2, AttentionScoresAgreeWithTransformers) {
  const Json golden = read_golden("smollm2_scores.json");
  const auto prompts = read_prompts(golden.at("prompts"));
  const Json& exact = golden.at("fp64");
  compare_scores(prompts, exact.at("previous_token"), [](int64_t, int64_t query) {
    return query >= 2 ? std::vector<int64_t>{query - 1} : std::vector<int64_t>{};
  });
  compare_scores(prompts, exact.at("previous_token_no_prefix"),
                 [](int64_t, int64_t query) { return std::vector<int64_t>{query - 1}; });
  for (const auto& [name, offset] : {std::pair{"duplicate_token", 0}, {"induction", 1}})
    compare_scores(prompts, exact.at(name), [&, at = offset](int64_t task, int64_t query) {
      return latest_occurrence(prompts[task].tokens, query, at);
    });
}

struct AblationRow {
  int layer;
  int head;
  size_t prompt;
  double loss;
  double delta_loss;
  double reference_rounding;  ///< transformers' fp32 loss minus its fp64 loss
};

/// Where transformers' own fp32 is further than this from its fp64, the edited model amplifies
/// rounding (tests/golden/README.md names the few rows) and a sound fp32 program may be several
/// times further off: at::linear in place of oneDNN moves L11H7 of prompt 3 by 2e-4.
constexpr double kAmplified = 2.5e-5;
constexpr double kAmplifiedRoom = 5e-4;

/// The fp64 columns: transformers' own fp32 is up to 7.5e-5 away from them on a few heads.
std::vector<AblationRow> read_ablations(const std::string& positions) {
  std::ifstream file(golden_path("smollm2_head_ablation.csv"));
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "positions,layer,head,prompt,loss,delta_loss,loss_fp64,delta_loss_fp64");
  std::vector<AblationRow> rows;
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    if (cells.at(0) != positions) continue;
    rows.push_back({std::stoi(cells.at(1)), std::stoi(cells.at(2)), std::stoul(cells.at(3)),
                    std::stod(cells.at(6)), std::stod(cells.at(7)),
                    std::abs(std::stod(cells.at(4)) - std::stod(cells.at(6)))});
  }
  return rows;
}

void SlowSmolLm2::compare_ablations(const std::string& positions) {
  const auto prompts = read_prompts("prompts/smollm2_abna.jsonl");
  const auto rows = read_ablations(positions);
  ASSERT_EQ(rows.size(), 270U * 8U);
  const auto base = model_->run(views(prompts), base_tasks(prompts, Side::clean));
  std::vector<Task> tasks;
  for (const AblationRow& row : rows)
    tasks.push_back(
        {.prompt = static_cast<int32_t>(row.prompt),
         .intervention = {Side::clean,
                          {{.site = Site::z,
                            .layer = row.layer,
                            .heads = {row.head},
                            .positions = positions_of(prompts[row.prompt], positions)}}},
         .reads = prompts[row.prompt].reads});
  const auto readings = model_->run(views(prompts), tasks);
  double largest = 0.0;
  int amplified_rows = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double loss = readings[i][0].loss();
    const double delta = loss - base[rows[i].prompt][0].loss();
    const std::string place =
        fmt::format("L{}H{} prompt {}", rows[i].layer, rows[i].head, rows[i].prompt);
    const bool amplified = rows[i].reference_rounding > kAmplified;
    const double room = amplified ? kAmplifiedRoom : kLossPromise;
    if (amplified) ++amplified_rows;
    EXPECT_NEAR(loss, rows[i].loss, room) << place;
    EXPECT_NEAR(delta, rows[i].delta_loss, room) << place;
    largest = std::max(largest, std::abs(delta - rows[i].delta_loss));
  }
  EXPECT_LE(amplified_rows, 4);
  RecordProperty("largest_delta_difference_nats", fmt::format("{:.2e}", largest));
}

TEST_F(SlowSmolLm2, EveryHeadAblatedAtAllPositionsAgreesWithTransformers) {
  compare_ablations("all");
}

TEST_F(SlowSmolLm2, EveryHeadAblatedAtTheTargetsAgreesWithTransformers) {
  compare_ablations("targets");
}

}  // namespace
}  // namespace mechsweep
