// Science on a trained two-layer copier: its induction circuit is found, and is what does the work.
// Expected numbers come from transformers (tests/golden/tiny-induction.json).

#include <gtest/gtest.h>

#include "engine_support.h"
#include "head_scores.h"

namespace mechsweep {
namespace {

using namespace test_engine;

constexpr double kLossRoom = 1e-4;   // nats
constexpr double kScoreRoom = 1e-5;  // of a probability

struct HeadName {
  int layer;
  int head;
};

HeadName parse_head(const std::string& name) {
  const size_t h = name.find('H');
  return {std::stoi(name.substr(1, h - 1)), std::stoi(name.substr(h + 1))};
}

class TinyInduction : public ::testing::Test {
 protected:
  struct Outcome {
    double loss = 0.0;
    double accuracy = 0.0;
  };

  [[nodiscard]] std::vector<Task> tasks_with(const Json& zeroed) const {
    std::vector<Task> tasks;
    for (size_t p = 0; p < prompts_.size(); ++p) {
      Task task{.prompt = static_cast<int32_t>(p), .intervention = {}, .reads = prompts_[p].reads};
      for (const Json& name : zeroed) {
        const HeadName head = parse_head(name);
        task.intervention.edits.push_back({.site = Site::z,
                                           .layer = head.layer,
                                           .heads = {head.head},
                                           .positions = all_positions(prompts_[p])});
      }
      tasks.push_back(std::move(task));
    }
    return tasks;
  }

  /// Means over all targets of all prompts with the heads' z at zero.
  Outcome outcome(const Json& zeroed) {
    Outcome mean;
    double targets = 0.0;
    const auto readings = model_.run(views_, tasks_with(zeroed));
    for (size_t p = 0; p < prompts_.size(); ++p)
      for (size_t t = 0; t < readings[p].size(); ++t, ++targets) {
        mean.loss += readings[p][t].loss();
        mean.accuracy += readings[p][t].top1 == prompts_[p].reads[t].tracked[0] ? 1.0 : 0.0;
      }
    return {mean.loss / targets, mean.accuracy / targets};
  }

  Outcome expect_outcome(const Json& golden, const Json& zeroed) {
    const Outcome found = outcome(zeroed);
    EXPECT_NEAR(found.loss, golden.at("loss").get<double>(), kLossRoom) << zeroed.dump();
    EXPECT_NEAR(found.accuracy, golden.at("accuracy").get<double>(), 1e-5) << zeroed.dump();
    return found;
  }

  /// Mean over prompts of a score of every head, [layer][head].
  std::vector<std::vector<double>> scores(const Json& zeroed, HeadScores::KeysOf keys_of) {
    const ModelConfig& config = model_.config();
    HeadScores observer(static_cast<int64_t>(prompts_.size()), config.n_layers, config.n_heads,
                        std::move(keys_of));
    model_.run(views_, tasks_with(zeroed), kAmpleMemory, &observer);
    std::vector<std::vector<double>> means(config.n_layers, std::vector<double>(config.n_heads));
    for (size_t p = 0; p < prompts_.size(); ++p)
      for (int layer = 0; layer < config.n_layers; ++layer)
        for (int head = 0; head < config.n_heads; ++head)
          means[layer][head] += observer.score(static_cast<int64_t>(p), layer, head) /
                                static_cast<double>(prompts_.size());
    return means;
  }

  std::vector<std::vector<double>> induction_scores(const Json& zeroed) {
    return scores(zeroed, [this](int64_t task, int64_t query) {
      return latest_occurrence(prompts_[task].tokens, query, 1);
    });
  }

  static void expect_scores(const std::vector<std::vector<double>>& found, const Json& golden) {
    ASSERT_EQ(found.size(), golden.size());
    for (size_t layer = 0; layer < found.size(); ++layer)
      for (size_t head = 0; head < found[layer].size(); ++head)
        EXPECT_NEAR(found[layer][head], golden[layer].at(head).get<double>(), kScoreRoom)
            << "L" << layer << "H" << head;
  }

  Json golden_ = read_golden("tiny-induction.json");
  Json exact_ = golden_.at("fp64");
  std::vector<TestPrompt> prompts_ = read_prompts(golden_.at("prompts"));
  std::vector<PromptTokens> views_ = views(prompts_);
  LoadedModel model_{open_checkpoint(golden_path(golden_.at("model")))};
};

TEST_F(TinyInduction, AttentionFindsTheInductionHead) {
  const auto found = induction_scores(Json::array());
  expect_scores(found, exact_.at("induction"));
  for (const Json& name : exact_.at("induction_heads")) {
    const HeadName head = parse_head(name);
    EXPECT_GT(found[head.layer][head.head], 0.4) << name;
  }
}

TEST_F(TinyInduction, AttentionFindsThePreviousTokenHead) {
  const auto found = scores(Json::array(), [](int64_t, int64_t query) {
    return query >= 2 ? std::vector<int64_t>{query - 1} : std::vector<int64_t>{};
  });
  expect_scores(found, exact_.at("previous_token"));
  const HeadName head = parse_head(exact_.at("previous_token_head"));
  for (size_t other = 0; other < found[0].size(); ++other)
    EXPECT_LE(found[0][other], found[head.layer][head.head]);
}

TEST_F(TinyInduction, WithoutItsInductionHeadsTheModelCannotCopy) {
  const Outcome base = expect_outcome(exact_.at("base"), Json::array());
  EXPECT_GT(base.accuracy, 0.99);
  const Outcome without =
      expect_outcome(exact_.at("induction_heads_zeroed"), exact_.at("induction_heads"));
  // Chance is the logarithm of the vocabulary.
  EXPECT_GT(without.loss, 0.9 * golden_.at("chance_loss").get<double>());
  EXPECT_LT(without.accuracy, 0.1);
}

TEST_F(TinyInduction, WithoutTheRestOfTheLayerItStillCopies) {
  const Outcome without =
      expect_outcome(exact_.at("other_layer_1_heads_zeroed"), exact_.at("other_layer_1_heads"));
  EXPECT_GT(without.accuracy, 0.8);
}

TEST_F(TinyInduction, ThePreviousTokenHeadFeedsTheInductionHead) {
  const Json previous = Json::array({exact_.at("previous_token_head")});
  const auto found = induction_scores(previous);
  expect_scores(found, exact_.at("induction_with_previous_token_head_zeroed"));
  for (const Json& name : exact_.at("induction_heads")) {
    const HeadName head = parse_head(name);
    EXPECT_LT(found[head.layer][head.head], 0.1) << name;
  }
  const Outcome without = expect_outcome(exact_.at("previous_token_head_zeroed"), previous);
  EXPECT_LT(without.accuracy, 0.1);
}

TEST_F(TinyInduction, EveryHeadOnItsOwnCostsWhatTransformersSays) {
  ASSERT_EQ(exact_.at("single_heads_zeroed").size(), 8U);
  for (const Json& one : exact_.at("single_heads_zeroed")) expect_outcome(one, one.at("heads"));
}

}  // namespace
}  // namespace mechsweep
