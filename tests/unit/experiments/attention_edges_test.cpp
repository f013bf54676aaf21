#include <cmath>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/edge_pairs.h"
#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::ParsedExperiment;
using test_experiments::RunPointer;
using test_experiments::small_model;
using test_experiments::SpellingExecutor;
using testing::ElementsAre;
using testing::HasSubstr;

/// A prefix, then 5 6 7, a separator, and 5 6 7 again; the other prompt is as long.
PromptSet copies() {
  PromptSet set{.id = "p", .kind = "file"};
  Prompt a{.id = "a", .tokens = {0, 5, 6, 7, 3, 5, 6, 7}, .prefix_length = 1};
  a.corrupt_tokens = {0, 8, 6, 7, 3, 5, 6, 7};
  a.targets = {{.at = 4, .answer = 5}, {.at = 5, .answer = 6}, {.at = 6, .answer = 7}};
  a.pairs = {{"own", {{7, 1}, {6, 1}}}, {"induction", {{5, 2}}}};
  Prompt b = a;
  b.id = "b";
  b.tokens = {0, 9, 6, 9, 3, 9, 6, 9};
  set.prompts = {a, b};
  return set;
}

class AttentionEdgesTest : public testing::Test {
 protected:
  RunPointer bind_run(const Json& json) {
    return ParsedExperiment("attention_edges", json).bind(model_, prompts_);
  }
  std::vector<std::string> problems(const Json& json) {
    return ParsedExperiment("attention_edges", json).problems.lines();
  }
  std::vector<std::string> asked(const Json& json, Range prompts, Range first) {
    const RunPointer run = bind_run(json);
    executor_.asked.clear();
    run->execute(0, prompts, first, executor_);
    return executor_.asked_edits();
  }
  std::vector<std::string> axes(const Json& json) {
    std::vector<std::string> found;
    const RunPointer run = bind_run(json);
    for (const ArraySpec& array : run->arrays()) {
      if (array.name != "loss") continue;
      for (size_t i = 1; i < array.axes.size(); ++i)
        found.push_back(fmt::format("{} {} {}", array.axes[i].name, array.axes[i].size,
                                    fmt::join(array.axes[i].labels, " ")));
    }
    return found;
  }
  /// The edges of a pair set on a prompt.
  EdgePairs::Edges edges(const std::string& name, int64_t prompt, int64_t draw = 0,
                         Occurrence occurrence = Occurrence::latest, uint64_t seed = 7) {
    return EdgePairs({.run_id = "e/m/p", .model = &model_, .prompts = &prompts_, .seed = seed},
                     {name}, occurrence)
        .on(prompt, 0, draw);
  }

  ModelConfig model_ = small_model(2, 2);
  PromptSet prompts_ = copies();
  SpellingExecutor executor_{model_};
  const Json zero_ = {
      {"pairs", "induction"}, {"edit", "k"}, {"operation", "zero"}, {"heads", {"L1H0"}}};

  Json with(const std::string& key, const Json& value) const {
    Json json = zero_;
    json[key] = value;
    return json;
  }
};

using Edges = EdgePairs::Edges;

TEST_F(AttentionEdgesTest, BuiltInPairsAreThoseOfTheScores) {
  EXPECT_EQ(edges("induction", 0), (Edges{{5, 2}, {6, 3}, {7, 4}}));
  EXPECT_EQ(edges("duplicate_token", 0), (Edges{{5, 1}, {6, 2}, {7, 3}}));
  EXPECT_EQ(edges("anti_induction", 0), (Edges{{6, 1}, {7, 2}}));  // the prefix is no key
  EXPECT_EQ(edges("previous_token", 0).size(), 6);
  EXPECT_EQ(edges("own", 0), (Edges{{6, 1}, {7, 1}}));
  EXPECT_EQ(edges("pairs.induction", 0), (Edges{{5, 2}}));
  EXPECT_EQ(edges("duplicate_token", 1), (Edges{{3, 1}, {5, 3}, {6, 2}, {7, 5}}));
  EXPECT_EQ(edges("duplicate_token", 1, 0, Occurrence::all),
            (Edges{{3, 1}, {5, 1}, {5, 3}, {6, 2}, {7, 1}, {7, 3}, {7, 5}}));
}

TEST_F(AttentionEdgesTest, RandomPairsMatchQueriesAndAvoidTrueKeys) {
  const Edges truth = edges("induction", 0);
  std::map<std::array<int32_t, 2>, int> times;
  constexpr int kDraws = 3000;
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    const Edges drawn = edges("random.induction", 0, draw);
    ASSERT_EQ(drawn.size(), truth.size());
    for (size_t i = 0; i < drawn.size(); ++i) {
      EXPECT_EQ(drawn[i][0], truth[i][0]);
      ++times[drawn[i]];
    }
  }
  // Query 5 has the content keys 1, 3 and 4 beside its true one, 2; each comes up a third of the
  // time (5 standard deviations), and so on.
  for (int32_t query = 5; query <= 7; ++query) {
    int kinds = 0;
    for (const auto& [edge, count] : times) {
      if (edge[0] != query) continue;
      ++kinds;
      EXPECT_GE(edge[1], 1);
      EXPECT_LT(edge[1], query);
      EXPECT_NE(edge[1], query - 3);
      const double share = 1.0 / (query - 2);
      EXPECT_NEAR(count / double{kDraws}, share, 5 * std::sqrt(share * (1 - share) / kDraws));
    }
    EXPECT_EQ(kinds, query - 2);
  }
}

TEST_F(AttentionEdgesTest, RandomKeysOfAQueryDiffer) {
  for (int64_t draw = 0; draw < 100; ++draw) {
    const auto drawn = edges("random.duplicate_token", 1, draw, Occurrence::all);
    EXPECT_EQ(std::set(drawn.begin(), drawn.end()).size(), 7);
    for (const auto& [query, key] : drawn)
      EXPECT_NE(prompts_.prompts[1].tokens[key], prompts_.prompts[1].tokens[query]);
  }
}

TEST_F(AttentionEdgesTest, RandomPairsDependOnSeedDrawAndPrompt) {
  prompts_.prompts[1].tokens = prompts_.prompts[0].tokens;
  std::set<Edges> seen;
  int as_other_prompt = 0;
  int as_other_seed = 0;
  for (int64_t draw = 0; draw < 30; ++draw) {
    const Edges drawn = edges("random.induction", 0, draw);
    EXPECT_EQ(drawn, edges("random.induction", 0, draw));
    seen.insert(drawn);
    if (drawn == edges("random.induction", 1, draw)) ++as_other_prompt;
    if (drawn == edges("random.induction", 0, draw, Occurrence::latest, 8)) ++as_other_seed;
  }
  // 3 * 4 * 5 = 60 outcomes are equally likely.
  EXPECT_GT(seen.size(), 15);
  EXPECT_LT(as_other_prompt, 6);
  EXPECT_LT(as_other_seed, 6);
}

TEST_F(AttentionEdgesTest, HeadsPairsAndEditsAreAxes) {
  Json json = with("pairs", {"induction", "own"});
  json["edit"] = {"v", "key_and_value"};
  EXPECT_THAT(axes(json), ElementsAre("named_head 1 L1H0", "pairs 2 induction own",
                                      "edit 2 v key_and_value", "target 3 "));
  EXPECT_THAT(asked(json, {0, 1}, {0, 1}),
              ElementsAre("clean 0,5,6,7,3,5,6,7|v L1 H0 P zero 5>2 6>3 7>4",
                          "clean 0,5,6,7,3,5,6,7|k L1 H0 P zero 5>2 6>3 7>4|v L1 H0 P zero 5>2 6>3 "
                          "7>4",
                          "clean 0,5,6,7,3,5,6,7|v L1 H0 P zero 6>1 7>1",
                          "clean 0,5,6,7,3,5,6,7|k L1 H0 P zero 6>1 7>1|v L1 H0 P zero 6>1 7>1"));
}

TEST_F(AttentionEdgesTest, AllTogetherIsOneJointEdit) {
  Json json = with("heads", "all_together");
  EXPECT_THAT(axes(json), ElementsAre("pairs 1 induction", "target 3 "));
  EXPECT_THAT(asked(json, {0, 1}, {0, 1}),
              ElementsAre("clean 0,5,6,7,3,5,6,7|k L0 H0,1 P zero 5>2 6>3 7>4|k L1 H0,1 P zero 5>2 "
                          "6>3 7>4"));
  json["layers"] = 1;
  json["pairs"] = {"own", "induction"};
  json["edit"] = {"q", "k"};
  EXPECT_THAT(axes(json), ElementsAre("pairs 2 own induction", "edit 2 q k", "target 3 "));
  EXPECT_EQ(asked(json, {0, 1}, {0, 2}).at(1), "clean 0,5,6,7,3,5,6,7|k L1 H0,1 P zero 6>1 7>1");
  json["pairs"] = "induction";
  json["edit"] = "k";
  EXPECT_THAT(asked(json, {0, 1}, {0, 1}),
              ElementsAre("clean 0,5,6,7,3,5,6,7|k L1 H0,1 P zero 5>2 6>3 7>4"));
}

TEST_F(AttentionEdgesTest, EachHeadIsAPlaceByDefault) {
  Json json = with("downstream", "freeze");
  json.erase("heads");
  EXPECT_THAT(axes(json), ElementsAre("layer 2 ", "head 2 ", "target 3 "));
  EXPECT_EQ(asked(json, {0, 1}, {1, 2}).back(),
            "clean 0,5,6,7,3,5,6,7|k L1 H1 P zero 5>2 6>3 7>4|freeze");
}

TEST_F(AttentionEdgesTest, ACutNeedsNoVector) {
  Json json = with("operation", "cut");
  EXPECT_THAT(problems(json), ElementsAre("s.yaml:10:5: edit: goes with zero and replace; a cut "
                                          "changes the score itself"));
  json.erase("edit");
  EXPECT_THAT(asked(json, {0, 1}, {0, 1}),
              ElementsAre("clean 0,5,6,7,3,5,6,7|k L1 H0 P cut 5>2 6>3 7>4"));
  EXPECT_EQ(bind_run(json)->attributes().at("site"), "pattern");
}

TEST_F(AttentionEdgesTest, ReplacementsComeFromTheDonor) {
  Json json = with("operation", "replace");
  json["edit"] = "query_and_value";
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("the key 'donor' is missing")));
  json["donor"] = "corrupt";
  EXPECT_THAT(asked(json, {0, 1}, {0, 1}),
              ElementsAre("clean 0,5,6,7,3,5,6,7|q L1 H0 P replace 5>2 6>3 7>4 corrupt "
                          "0,8,6,7,3,5,6,7|v L1 H0 P replace 5>2 6>3 7>4 corrupt "
                          "0,8,6,7,3,5,6,7"));
  json["donor"] = "resample";
  json["draws"] = 2;
  EXPECT_EQ(axes(json).at(1), "draw 2 ");
  EXPECT_THAT(asked(json, {0, 1}, {0, 1}).back(),
              HasSubstr("q L1 H0 P replace 5>2 6>3 7>4 clean 0,9,6,9,3,9,6,9"));
  prompts_.prompts[1].corrupt_tokens.clear();
  json["donor"] = "corrupt";
  json.erase("draws");
  EXPECT_THAT(failure([&] { bind_run(json); }), HasSubstr("prompt 'b' of set 'p' has no corrupt"));
}

TEST_F(AttentionEdgesTest, DrawsAreOfRandomPairsOnly) {
  Json json = with("pairs", {"random.induction", "random.own"});
  json["draws"] = 3;
  EXPECT_THAT(axes(json), ElementsAre("named_head 1 L1H0", "pairs 2 random.induction random.own",
                                      "draw 3 ", "target 3 "));
  const auto asked_edits = asked(json, {0, 1}, {0, 1});
  ASSERT_EQ(asked_edits.size(), 6);
  for (int64_t draw = 0; draw < 3; ++draw) {
    std::string spelled;
    for (const auto& [query, key] : edges("random.own", 0, draw))
      spelled += fmt::format(" {}>{}", query, key);
    EXPECT_EQ(asked_edits[3 + draw], "clean 0,5,6,7,3,5,6,7|k L1 H0 P zero" + spelled);
  }
  json["pairs"] = {"random.induction", "induction"};
  EXPECT_THAT(problems(json), ElementsAre(HasSubstr("draws: more than one draw needs an experiment "
                                                    "of its own")));
}

TEST_F(AttentionEdgesTest, CostDependsOnTheQueriesThatTokensGive) {
  // Both prompts are as long and have the same targets, spans and own pairs.
  const RunPointer run = bind_run(with("pairs", "duplicate_token"));
  EXPECT_GT(run->flops(0, 1, 0), run->flops(0, 0, 0));  // query 3 comes before query 5
}

TEST_F(AttentionEdgesTest, EstimandAndDefinitionsAreStored) {
  Json json = with("pairs", {"induction", "random.own"});
  json["edit"] = {"k", "v"};
  json["heads"] = "all_together";
  const Json attributes = bind_run(json)->attributes();
  EXPECT_EQ(attributes.at("estimand"),
            "k or v of the pairs induction or random.own zeroed, in all heads of all chosen layers "
            "together, downstream recomputed");
  EXPECT_EQ(attributes.at("site"), "k, v");
  EXPECT_EQ(attributes.at("pairs_per_prompt"), "induction 3 to 4 a prompt, random.own 2 a prompt");
  EXPECT_EQ(attributes.at("occurrence"), "latest");
}

TEST_F(AttentionEdgesTest, ParametersAreInCanonicalForm) {
  EXPECT_EQ(ParsedExperiment("attention_edges", with("heads", "all_together"))
                .experiment->parameters("")
                .dump(),
            R"({"downstream":"recompute","draws":1,"edit":"k","heads":"all_together",)"
            R"("layers":"all","occurrence":"latest","operation":"zero","pairs":"induction",)"
            R"("readouts":[],"top_k":0})");
}

TEST_F(AttentionEdgesTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(problems(with("pairs", {"random", "random.", "own", "own"})),
              ElementsAre(HasSubstr("pairs[0]: 'random' has to say like which pairs"),
                          HasSubstr("pairs[1]: 'random.' names no pairs"),
                          HasSubstr("pairs[3]: names 'own' twice")));
  EXPECT_THAT(problems(with("edit", {"k", "w"})),
              ElementsAre(HasSubstr("edit[1]: unknown value 'w'")));
  EXPECT_THAT(problems(with("donor", "corrupt")),
              ElementsAre(HasSubstr("donor: goes with the operation replace only")));
  EXPECT_EQ(failure([&] { bind_run(with("pairs", "random.duplicate")); }),
            "usage: pairs 'duplicate' are neither built in (previous_token, duplicate_token, "
            "induction, anti_induction) nor a name in the `pairs` of any prompt of set 'p'");
  prompts_.prompts[1].pairs.clear();
  EXPECT_EQ(failure([&] {
              bind_run(with("pairs", {"induction", "own"}));
            }),
            "input: prompt 'b' of set 'p' has no pair of 'own'; leave the prompt or the name out");
  prompts_.prompts.resize(1);
  prompts_.prompts[0].pairs["own"] = {{2, 1}};
  EXPECT_THAT(failure([&] { bind_run(with("pairs", "random.own")); }),
              HasSubstr("prompt 'a' of set 'p' has 0 other content positions before its query 2"));
}

}  // namespace
}  // namespace mechsweep
