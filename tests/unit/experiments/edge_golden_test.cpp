#include <algorithm>
#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include "model/model.h"
#include "unit/experiments/golden_support.h"

// `kind: attention_edges`, and neurons, on whole models: against transformers with an attention
// function of its own (tests/golden/README.md, "The edge goldens"), and laws that hold exactly.

namespace mechsweep {
namespace {

using test_experiments::array_of;
using test_experiments::golden_path;
using test_experiments::ParsedExperiment;
using test_experiments::RunPointer;
using test_experiments::values_of;

constexpr double kTolerance = 1e-4;       // nats
constexpr double kLooseTolerance = 5e-4;  // where rounding alone moves the reference (decision 8)

std::string checkpoint_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// A model with prompts; runs are computed whole.
class EdgeModel {
 public:
  EdgeModel(const std::string& model, const std::string& prompts,
            const std::string& executor = "wavefront")
      : checkpoint(open_checkpoint(model)),
        session_(open_model(checkpoint, group_, {.executor = executor})) {
    set.id = "p";
    std::ifstream lines(golden_path(prompts));
    for (std::string line; std::getline(lines, line);)
      set.prompts.push_back(prompt_from_json(parse_prompt_json(line), {}));
  }

  [[nodiscard]] UnitResult compute(const std::string& kind, const Json& json) {
    ParsedExperiment parsed(kind, json);
    run = parsed.bind(checkpoint.config, set);
    return run->execute(0, {0, std::ssize(set.prompts)}, {0, run->stages()[0].first_size},
                        session_->executor());
  }
  /// One of the arrays, flat.
  template <typename T>
  [[nodiscard]] std::vector<T> values(const UnitResult& result, const std::string& name) const {
    const auto arrays = run->arrays();
    for (const ArrayBlock& block : result.blocks)
      if (arrays[block.array].name == name) return values_of<T>(block);
    fail(ErrorKind::internal, "there is no array {}", name);
  }
  [[nodiscard]] std::vector<double> losses(const std::string& kind, const Json& json) {
    return values<double>(compute(kind, json), "loss");
  }

  [[nodiscard]] Executor& executor() { return session_->executor(); }

  Checkpoint checkpoint;
  PromptSet set;
  RunPointer run;

 private:
  SoloGroup group_;
  std::unique_ptr<ModelSession> session_;
};

/// Compares every case of a golden; gives how many numbers that were.
int64_t compare_cases(EdgeModel& model, const Json& golden) {
  int64_t compared = 0;
  for (const Json& known : golden.at("cases")) {
    const Json& config = known.at("config");
    SCOPED_TRACE(config.dump());
    const Json amplified = known.value("amplified", Json::array());
    const UnitResult result = model.compute(known.at("kind"), config);
    const auto loss = model.values<double>(result, "loss");
    const auto top1 = model.values<int32_t>(result, "top1");
    size_t i = 0;
    for (size_t p = 0; p < known.at("loss_fp64").size(); ++p)
      for (size_t j = 0; j < known.at("loss_fp64")[p].size(); ++j, ++i) {
        const bool loose = std::ranges::find(amplified, Json({p, j})) != amplified.end();
        EXPECT_NEAR(loss.at(i), known.at("loss_fp64")[p][j].get<double>(),
                    loose ? kLooseTolerance : kTolerance)
            << i;
        const auto top = known.at("top1")[p][j].get<int32_t>();
        if (top >= 0) {
          EXPECT_EQ(top1.at(i), top) << i;
        }
      }
    EXPECT_EQ(i, loss.size());
    compared += static_cast<int64_t>(i);
    if (testing::Test::HasFailure()) return compared;
  }
  return compared;
}

Json read_golden(const std::string& name) {
  std::ifstream file(golden_path("edges/" + name + ".json"));
  return Json::parse(file);
}

class EdgeGolden : public testing::TestWithParam<std::string> {
 protected:
  EdgeModel model_{golden_path("checkpoints/" + GetParam()), "prompts/edges_random.jsonl"};
};

TEST_P(EdgeGolden, EveryCase) {
  EXPECT_GT(compare_cases(model_, read_golden(GetParam())), 500);
}

/// A donor that is the base run gives its numbers bit for bit.
TEST_P(EdgeGolden, ADonorEqualToTheBaseChangesNoBit) {
  for (Prompt& prompt : model_.set.prompts) prompt.corrupt_tokens = prompt.tokens;
  for (const char* heads : {"all", "all_together"}) {
    const UnitResult result = model_.compute(
        "attention_edges", {{"pairs", {"induction", "previous_token", "far"}},
                            {"edit", {"q", "k", "v", "query_and_key", "key_and_value", "all"}},
                            {"operation", "replace"},
                            {"donor", "corrupt"},
                            {"heads", heads}});
    const auto loss = model_.values<double>(result, "loss");
    const auto base = model_.values<double>(result, "base/loss");
    const size_t prompts = model_.set.prompts.size();
    const size_t targets = base.size() / prompts;
    const size_t row = loss.size() / prompts;
    for (size_t i = 0; i < loss.size(); ++i)
      EXPECT_EQ(loss[i], base[i / row * targets + i % targets]) << heads << " " << i;
  }
}

/// Every edge of a head without its value is that head without its z.
TEST_P(EdgeGolden, NoValueOfAnyEdgeIsNoHead) {
  for (Prompt& prompt : model_.set.prompts) {
    auto& every = prompt.pairs["every"];
    for (int32_t q = 0; q < std::ssize(prompt.tokens); ++q)
      for (int32_t k = 0; k <= q; ++k) every.emplace_back(q, k);
  }
  const auto edges =
      model_.losses("attention_edges", {{"pairs", "every"}, {"edit", "v"}, {"operation", "zero"}});
  const auto heads = model_.losses("head_ablation", {{"operation", "zero"}, {"positions", "all"}});
  ASSERT_EQ(edges.size(), heads.size());
  for (size_t i = 0; i < edges.size(); ++i) EXPECT_NEAR(edges[i], heads[i], 1e-6) << i;
}

/// A query whose keys are all cut attends to nothing.
TEST_P(EdgeGolden, ACutOfEveryKeyLeavesNothing) {
  for (Prompt& prompt : model_.set.prompts) {
    auto& every = prompt.pairs["every"];
    for (int32_t q = 0; q < std::ssize(prompt.tokens); ++q)
      for (int32_t k = 0; k <= q; ++k) every.emplace_back(q, k);
  }
  const auto cut = model_.losses("attention_edges", {{"pairs", "every"}, {"operation", "cut"}});
  const auto heads = model_.losses("head_ablation", {{"operation", "zero"}, {"positions", "all"}});
  ASSERT_EQ(cut.size(), heads.size());
  for (size_t i = 0; i < cut.size(); ++i) EXPECT_NEAR(cut[i], heads[i], 1e-6) << i;
}

/// Joint edits of all pairs in all heads: both executors give the same bits.
TEST_P(EdgeGolden, BothExecutorsGiveTheSameBits) {
  EdgeModel naive(golden_path("checkpoints/" + GetParam()), "prompts/edges_random.jsonl", "naive");
  const Json joint = {{"pairs", {"induction", "random.induction", "previous_token"}},
                      {"edit", {"k", "v", "key_and_value"}},
                      {"operation", "zero"},
                      {"heads", "all_together"}};
  Json cut = joint;
  cut["operation"] = "cut";
  cut.erase("edit");
  Json replaced = joint;
  replaced["operation"] = "replace";
  replaced["donor"] = "resample";
  replaced["draws"] = 4;
  Json frozen = joint;
  frozen["downstream"] = "freeze";
  frozen["heads"] = "all";
  for (const Json& json : {joint, cut, replaced, frozen}) {
    const UnitResult one = model_.compute("attention_edges", json);
    const UnitResult other = naive.compute("attention_edges", json);
    ASSERT_EQ(one.blocks.size(), other.blocks.size());
    for (size_t b = 0; b < one.blocks.size(); ++b)
      EXPECT_EQ(one.blocks[b].bytes, other.blocks[b].bytes) << json.dump() << " " << b;
  }
}

/// Keeps the attention pattern of head 0 in layer 0 of the first task.
class FirstPattern final : public AttentionObserver {
 public:
  void observe(int64_t task, int layer, int head, const float* pattern, int64_t tokens,
               int64_t row_stride) override {
    if (task != 0 || layer != 0 || head != 0) return;
    for (int64_t q = 0; q < tokens; ++q)
      rows.emplace_back(pattern + q * row_stride, pattern + q * row_stride + tokens);
  }
  std::vector<std::vector<float>> rows;
};

/// With A the attention of a query to a key and v that key's value, a dropped value leaves z - A v,
/// and a cut, which renormalises the other weights, (z - A v) / (1 - A).
TEST_P(EdgeGolden, ACutRenormalisesAndADroppedValueDoesNot) {
  const Prompt& prompt = model_.set.prompts[1];
  const auto last = static_cast<int32_t>(prompt.tokens.size()) - 1;
  const std::vector<PromptTokens> tokens = {{prompt.tokens, {}}};
  const std::vector<ReadPoint> reads = {{.position = last, .tracked = {1}}};
  for (int32_t key = 0; key < last; ++key) {
    const std::vector<ActivationPoint> kept = {{Site::z, 0, last}, {Site::v, 0, key}};
    Edit edit{.site = Site::v, .layer = 0, .heads = {0}, .edges = {{last, key}}};
    Edit cut = edit;
    cut.operation = Operation::cut;
    std::vector<Task> tasks;
    for (const std::vector<Edit>& edits : {std::vector<Edit>(), {edit}, {cut}})
      tasks.push_back({0, {Side::clean, edits, Downstream::recompute}, reads, kept});
    FirstPattern pattern;
    const auto results = model_.executor().run(tokens, tasks, &pattern);
    const double weight = pattern.rows.at(last).at(key);
    for (int64_t i = 0; i < model_.checkpoint.config.head_size; ++i) {
      const double z = results[0].activations[0][i];
      const double rest = z - weight * results[0].activations[1][i];
      EXPECT_NEAR(results[1].activations[0][i], rest, 1e-5) << key << " " << i;
      EXPECT_NEAR(results[2].activations[0][i], rest / (1.0 - weight), 2e-5) << key << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RandomModels, EdgeGolden,
                         testing::Values("gpt2-random", "gpt-neox-serial", "gpt-neox-parallel",
                                         "llama-random"),
                         checkpoint_name);

/// Science on a trained copier: without the induction pairs of its one induction head (L1H2, by
/// tests/golden/tiny-induction.json) it knows no more than chance; random pairs cost nothing.
TEST(TinyInductionEdges, CopyingRunsThroughTheInductionPairs) {
  EdgeModel model(golden_path("checkpoints/tiny-induction"), "prompts/tiny_induction.jsonl");
  const Json json = {{"pairs", {"induction", "random.induction"}},
                     {"operation", "cut"},
                     {"heads", {"L1H2", "L1H3"}}};
  const UnitResult result = model.compute("attention_edges", json);
  const auto loss = model.values<double>(result, "loss");
  const auto base = model.values<double>(result, "base/loss");
  const auto targets = std::ssize(base) / std::ssize(model.set.prompts);
  std::vector<double> mean(4, 0.0);  // L1H2 without its pairs, without random ones, then L1H3
  for (size_t i = 0; i < loss.size(); ++i)
    mean[i / targets % 4] += (loss[i] - base[i / (4 * targets) * targets + i % targets]) /
                             static_cast<double>(base.size());
  EXPECT_GT(mean[0], 4.0);  // chance is ln 64 = 4.16, the loss before 0.01
  for (int place = 1; place < 4; ++place) EXPECT_LT(std::abs(mean[place]), 0.01) << place;
}

TEST(SlowEdgeGolden, SmolLM2) {
  const std::string file = "/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
  const std::string path = std::string(MECHSWEEP_SOURCE_DIR) + file;
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  EdgeModel model(path, "prompts/edges_smollm2.jsonl");
  EXPECT_GT(compare_cases(model, read_golden("smollm2")), 200);
}

}  // namespace
}  // namespace mechsweep
