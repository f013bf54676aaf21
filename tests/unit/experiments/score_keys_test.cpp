#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/score_keys.h"
#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::ParsedExperiment;
using test_experiments::RunPointer;
using test_experiments::small_model;
using test_experiments::SpellingExecutor;
using test_experiments::values_of;
using testing::ElementsAre;

/// "3:0,1 4:2": queries with their keys.
std::string text_of(const ScoreKeys& score) {
  std::string text;
  for (const auto& [query, keys] : score.queries)
    text += fmt::format("{}{}:{}", text.empty() ? "" : " ", query, fmt::join(keys, ","));
  return text;
}

// Token:     9  4  7  4  7  4
// Position:  0  1  2  3  4  5
const Prompt kPrompt{.id = "a", .tokens = {9, 4, 7, 4, 7, 4}};

Prompt with_prefix(Prompt prompt) {
  prompt.prefix_length = 1;
  return prompt;
}

TEST(ScoreKeys, DuplicatesByOccurrence) {
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::latest, 0)), "3:1 4:2 5:3");
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::first, 0)), "3:1 4:2 5:1");
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::all, 0)), "3:1 4:2 5:1,3");
}

TEST(ScoreKeys, InductionKeysAreOneLater) {
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::latest, 1)), "3:2 4:3 5:4");
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::all, 1)), "3:2 4:3 5:2,4");
}

TEST(ScoreKeys, AKeyThatIsNotEarlierDoesNotCount) {
  const Prompt run{.tokens = {5, 5, 5}};
  // The latest occurrence is the token before, whose next one is the query itself.
  EXPECT_EQ(text_of(occurrence_keys(run, Occurrence::latest, 1)), "");
  EXPECT_EQ(text_of(occurrence_keys(run, Occurrence::first, 1)), "2:1");
  EXPECT_EQ(text_of(occurrence_keys(run, Occurrence::all, 1)), "2:1");
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::latest, 2)), "");
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::first, 2)), "5:3");
}

TEST(ScoreKeys, ThePrefixIsNeitherQueryNorKey) {
  const Prompt prefixed = with_prefix(kPrompt);
  EXPECT_EQ(text_of(occurrence_keys(kPrompt, Occurrence::latest, -1)), "3:0 4:1 5:2");
  EXPECT_EQ(text_of(occurrence_keys(prefixed, Occurrence::latest, -1)), "4:1 5:2");
  EXPECT_EQ(text_of(previous_token_keys(kPrompt)), "1:0 2:1 3:2 4:3 5:4");
  EXPECT_EQ(text_of(previous_token_keys(prefixed)), "2:1 3:2 4:3 5:4");
  const Prompt same = with_prefix({.tokens = {8, 8, 8}});
  EXPECT_EQ(text_of(occurrence_keys(same, Occurrence::all, 0)), "2:1");
}

TEST(ScoreKeys, ScoresAreMeansOverQueriesOfSumsOverKeys) {
  const ScoreKeys keys{{{1, {0}}, {2, {0, 1}}}};
  const std::vector<float> pattern = {1, 0, 0, -9, 0.25, 0.75, 0, -9, 0.5, 0.125, 0.375, -9};
  EXPECT_EQ(score_of(keys, pattern.data(), 4), (0.25 + (0.5 + 0.125)) / 2);
  EXPECT_TRUE(std::isnan(score_of({}, pattern.data(), 4)));
}

TEST(ScoreKeys, QueriesThatCannotSeeAKeyDoNotCount) {
  const ScoreKeys keys{{{1, {0}}, {2, {0, 1}}}};
  const std::vector<float> pattern = {1, 0, 0, 0.25, 0.75, 0, 0, 0.625, 0.375};
  EXPECT_EQ(score_of(keys, pattern.data(), 3, /*window=*/3), (0.25 + 0.625) / 2);
  EXPECT_EQ(score_of(keys, pattern.data(), 3, /*window=*/2), 0.25);
  EXPECT_TRUE(std::isnan(score_of(keys, pattern.data(), 3, /*window=*/1)));
}

class AttentionScoresTest : public testing::Test {
 protected:
  AttentionScoresTest() {
    Prompt b = kPrompt;
    b.id = "b";
    b.pairs["copy"] = {{5, 4}, {3, 0}};
    prompts_.prompts = {kPrompt, b};
  }
  RunPointer bind_run(const Json& json) {
    return ParsedExperiment("attention_scores", json).bind(model_, prompts_);
  }

  ModelConfig model_ = small_model(2, 2);
  PromptSet prompts_{.id = "p"};
};

TEST_F(AttentionScoresTest, BlocksAreNamedScoresThenOffsets) {
  const auto run = bind_run({{"scores", {"copy", "induction"}}});
  const auto arrays = run->arrays();
  ASSERT_EQ(arrays.size(), 3U);
  EXPECT_EQ(arrays[0].name, "copy");
  EXPECT_EQ(arrays[1].name, "induction");
  EXPECT_EQ(arrays[2].name, "offset_score");
  EXPECT_EQ(arrays[2].axes.back(),
            (Axis{.name = "offset", .size = 5, .coordinates = {-2, -1, 0, 1, 2}}));
  EXPECT_EQ(run->stages().size(), 1U);
  EXPECT_EQ(run->stages()[0].first_size, 0);
  SpellingExecutor executor(model_);
  const UnitResult result = run->execute(0, {0, 2}, {0, 0}, executor);
  ASSERT_EQ(result.blocks.size(), 3U);
  // The executor's A[q, k] is 1000 layer + 100 head + 10 q + k. Copy: mean of (54, 30) = 42;
  // induction: mean of (32, 43, 54) = 43.
  const auto copy = values_of<double>(result.blocks[0]);
  ASSERT_EQ(copy.size(), 8U);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(std::isnan(copy[i])) << "the first prompt has no pairs";
  EXPECT_THAT((std::vector<double>(copy.begin() + 4, copy.end())),
              ElementsAre(42, 142, 1042, 1142));
  EXPECT_THAT(values_of<double>(result.blocks[1]),
              ElementsAre(43, 143, 1043, 1143, 43, 143, 1043, 1143));
  // Offsets -2..2 of the first head: (41 at -2 for q = 4 is 40: keys 0 and 1) and so on.
  const auto offsets = values_of<double>(result.blocks[2]);
  ASSERT_EQ(offsets.size(), 40U);
  EXPECT_EQ(offsets[0], (40 + 51) / 2.0);
  EXPECT_EQ(offsets[1], (30 + 41 + 52) / 3.0);
  EXPECT_EQ(offsets[2], (31 + 42 + 53) / 3.0);
  EXPECT_EQ(offsets[3], 43);
  EXPECT_TRUE(std::isnan(offsets[4]));
  EXPECT_EQ(offsets[5 + 3], 143);
}

TEST_F(AttentionScoresTest, WrongScoresAreNamed) {
  const auto problem = [](const Json& json) {
    const ParsedExperiment parsed("attention_scores", json);
    EXPECT_EQ(parsed.problems.lines().size(), 1U);
    return parsed.problems.empty() ? "" : parsed.problems.lines().front();
  };
  EXPECT_EQ(problem(Json::object()), "s.yaml:9:1: the key 'scores' is missing");
  EXPECT_EQ(problem({{"scores", Json::array()}}), "s.yaml:10:5: scores: names no score");
  EXPECT_EQ(problem({{"scores", {"copy", "copy"}}}), "s.yaml:10:5: scores: names a score twice");
  EXPECT_EQ(problem({{"scores", {{"a", 1}}}}),
            "s.yaml:10:5: scores: must be a list of texts, not a map");
  for (const char* name : {"offset_score", "layer", "a/b", ".", "..", "x_layer_profile"})
    EXPECT_EQ(problem({{"scores", {name}}}),
              fmt::format("s.yaml:10:5: scores: '{}' cannot be the name of a score: rename the "
                          "`pairs` in the prompt file",
                          name));
  EXPECT_EQ(problem({{"scores", "copy"}, {"occurrence", "last"}}),
            "s.yaml:10:5: occurrence: unknown value 'last'; did you mean 'latest'? (known: latest, "
            "first, all)");
  EXPECT_EQ(failure([&] {
              bind_run({{"scores", "inducton"}});
            }),
            "usage: score 'inducton' is neither built in (previous_token, duplicate_token, "
            "induction, anti_induction) nor a name in the `pairs` of any prompt of set 'p'");
  EXPECT_EQ(failure([&] {
              bind_run({{"scores", "pairs.induction"}});
            }),
            "usage: score 'pairs.induction' is neither built in (previous_token, duplicate_token, "
            "induction, anti_induction) nor a name in the `pairs` of any prompt of set 'p'");
}

TEST_F(AttentionScoresTest, PairsWithTheNameOfABuiltInScoreAreAskedForInFull) {
  prompts_.prompts[1].pairs["induction"] = {{5, 0}};
  const auto run = bind_run({{"scores", {"induction", "pairs.induction", "pairs.copy"}}});
  EXPECT_EQ(run->arrays()[1].name, "pairs.induction");
  SpellingExecutor executor(model_);
  const UnitResult result = run->execute(0, {0, 2}, {0, 0}, executor);
  // A[q, k] is 10 q + k in the first head of the first layer; the second prompt is the one with
  // pairs. Built in: mean of (32, 43, 54); the pairs: 50, and mean of (54, 30).
  EXPECT_EQ(values_of<double>(result.blocks[0])[4], 43);
  EXPECT_EQ(values_of<double>(result.blocks[1])[4], 50);
  EXPECT_EQ(values_of<double>(result.blocks[2])[4], 42);
}

}  // namespace
}  // namespace mechsweep
