#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "unit/experiments/experiment_support.h"
#include "unit/experiments/intervention_files.h"

namespace mechsweep {
namespace {

using test_experiments::code_of;
using test_experiments::failure;
using test_experiments::Folder;
using test_experiments::ParsedExperiment;
using test_experiments::ragged_prompts;
using test_experiments::RunPointer;
using test_experiments::small_model;
using test_experiments::SpellingExecutor;
using test_experiments::template_prompts;
using test_experiments::values_of;
using testing::ElementsAre;

class InterventionsTest : public testing::Test {
 protected:
  ParsedExperiment parsed(const Json& json = {{"file", "e.jsonl"}}) {
    ParsedExperiment experiment("interventions", json);
    experiment.folder = folder_.path();
    return experiment;
  }
  /// Binds a file with one edit a line.
  RunPointer bind_edits(const std::vector<Json>& edits, Json config = {{"file", "e.jsonl"}}) {
    std::string text;
    for (const Json& edit : edits) text += Json{{"edits", {edit}}}.dump() + "\n";
    folder_.write("e.jsonl", text);
    return parsed(config).bind(model_, prompts_);
  }
  /// What is wrong with a file of these edits, without its folder.
  std::string problem(const std::vector<Json>& edits) {
    std::string message = failure([&] { bind_edits(edits); });
    const std::string folder = folder_.path() + "/";
    for (size_t at = message.find(folder); at != std::string::npos; at = message.find(folder))
      message.erase(at, folder.size());
    return message;
  }
  /// What the executor is asked for by all lines on one prompt.
  std::vector<std::string> asked(const mechsweep::Run& run, int64_t prompt) {
    executor_.asked.clear();
    run.execute(0, {prompt, prompt + 1}, {0, run.stages()[0].first_size}, executor_);
    return executor_.asked_edits();
  }

  ModelConfig model_ = small_model(3, 2);
  PromptSet prompts_ = ragged_prompts();
  SpellingExecutor executor_{model_};
  Folder folder_;
};

Json z_edit(const Json& more) {
  Json edit = {{"site", "z"}, {"layer", 1}, {"heads", {0}}, {"positions", {-1}}};
  edit.update(more);
  return edit;
}

TEST_F(InterventionsTest, AreOneAxisWithTheLinesIds) {
  folder_.write("e.jsonl",
                R"({"id": "first", "edits": [{"site": "z", "layer": -1, "heads": "all",)"
                R"( "positions": "name", "operation": "zero"}]})"
                "\n\n"
                R"({"downstream": "freeze", "edits": [{"site": "resid_pre", "layer": 0,)"
                R"( "positions": "targets", "operation": "replace", "donor": "corrupt"},)"
                R"( {"site": "v", "layer": 1, "heads": [0], "edges": [[-1, 0]],)"
                R"( "operation": "zero"}]})");
  const RunPointer run = parsed().bind(model_, prompts_);
  const ArraySpec loss = run->arrays().back();
  EXPECT_EQ(loss.axes[1].name, "intervention");
  EXPECT_THAT(loss.axes[1].labels, ElementsAre("first", "3"));
  EXPECT_EQ(run->stages()[0].first_size, 2);
  EXPECT_THAT(asked(*run, 1),
              ElementsAre("clean 7,8,7|z L2 H0,1 P1,2 zero",
                          "clean 7,8,7|resid_pre L0 H P0,2 replace corrupt 4,8,7|v L1 H0 P zero "
                          "2>0|freeze"));
  // The corrupt runs are stored, since a line takes values from them.
  const UnitResult result = run->execute(0, {0, 1}, {0, 1}, executor_);
  EXPECT_EQ(values_of<double>(result.blocks.at(6))[0], code_of("corrupt 5,9") + 11);
  EXPECT_EQ(run->attributes().at("donor"), "corrupt");
  EXPECT_EQ(run->attributes().at("downstream"), "recompute, freeze");
  EXPECT_EQ(run->attributes().at("site"), "z, resid_pre, v");
}

TEST_F(InterventionsTest, EveryOperationReachesTheExecutor) {
  prompts_ = template_prompts();
  const Json direction = {3, 0, 0, 4};
  const RunPointer run = bind_edits({
      z_edit({{"operation", "value_bias"}}),
      z_edit({{"operation", "mean"}}),
      z_edit({{"operation", "mean"}, {"per", "all"}}),
      z_edit({{"operation", "replace"}, {"value", {1, 2, 3, 4.5}}}),
      z_edit({{"operation", "add"}, {"direction", direction}, {"scale", -0.5}}),
      z_edit({{"operation", "remove"}, {"direction", direction}}),
      z_edit({{"operation", "transplant"}, {"direction", direction}, {"donor", "clean"}}),
  });
  const auto all = asked(*run, 1);
  const std::vector<std::string> edited(all.end() - 7, all.end());
  const std::string z = "clean 4,5,6|z L1 H0 P2 ";
  EXPECT_THAT(edited,
              ElementsAre(z + "value_bias", z + "mean of 3,3,2 without clean 4,5,6",
                          z + "mean of 5,5,4,2 without clean 4,5,6", z + "replace [1,2,3,4.5]",
                          z + "add [3,0,0,4] x-0.5", z + "remove [0.6,0,0,0.8]",
                          z + "transplant [0.6,0,0,0.8] clean 4,5,6"));
  EXPECT_FALSE(run->attributes().contains("donor"));
}

TEST_F(InterventionsTest, ASiteThatTheModelLacksIsAProblemOfItsLine) {
  model_.architecture = "gptj";
  model_.parallel_residual = true;
  EXPECT_THAT(
      problem({{{"site", "resid_mid"}, {"layer", 0}, {"positions", {0}}, {"operation", "zero"}}}),
      testing::HasSubstr("edits[0].site: 'resid_mid' does not exist in architecture 'gptj'"));
}

TEST_F(InterventionsTest, DonorsMayBeOtherPrompts) {
  prompts_ = template_prompts();
  prompts_.prompts.resize(2);
  prompts_.prompts.push_back(prompts_.prompts[0]);
  prompts_.prompts[2].id = "x";
  prompts_.prompts[2].tokens = {30, 31, 32};
  prompts_.prompts[2].corrupt_tokens = {40, 41, 42};
  const RunPointer run = bind_edits({
      z_edit({{"operation", "replace"}, {"donor", {{"prompt", "x"}}}}),
      z_edit({{"operation", "replace"}, {"donor", {{"prompt", 2}, {"side", "corrupt"}}}}),
      z_edit({{"operation", "resample"}, {"draw", 5}}),
  });
  const uint32_t drawn = RandomStream(7, "resample/e/m/p/0", 5).below(2);
  const std::string z = "clean 1,2,3|z L1 H0 P2 replace ";
  EXPECT_THAT(asked(*run, 0), ElementsAre(z + "clean 30,31,32", z + "corrupt 40,41,42",
                                          z + (drawn == 0 ? "clean 4,5,6" : "clean 30,31,32")));
  EXPECT_THAT(asked(*run, 2)[0], "clean 30,31,32|z L1 H0 P2 replace clean 30,31,32");
  EXPECT_FALSE(run->attributes().contains("donor"));  // no run of the prompt's own
}

TEST_F(InterventionsTest, TheBaseMayBeTheCorruptRun) {
  const RunPointer run = bind_edits({z_edit({{"operation", "replace"}, {"donor", "clean"}})},
                                    {{"file", "e.jsonl"}, {"base", "corrupt"}});
  EXPECT_THAT(asked(*run, 0), ElementsAre("corrupt 5,9|z L1 H0 P1 replace clean 5,6"));
  EXPECT_EQ(run->attributes().at("base"), "corrupt");
  EXPECT_EQ(run->attributes().at("donor"), "clean");
}

TEST_F(InterventionsTest, PairsOfThePromptsAreEdges) {
  prompts_.prompts[0].pairs["copy"] = {{1, 0}};
  prompts_.prompts[1].pairs["copy"] = {{2, 1}, {2, 0}, {2, 1}};
  const Json edit = {
      {"site", "k"}, {"layer", 0}, {"heads", {1}}, {"edges", "copy"}, {"operation", "cut"}};
  const RunPointer run = bind_edits({edit});
  EXPECT_THAT(asked(*run, 1), ElementsAre("clean 7,8,7|k L0 H1 P cut 2>0 2>1"));
  prompts_.prompts[0].pairs.clear();
  EXPECT_EQ(problem({edit}),
            "input: e.jsonl:1: edits[0].edges: prompt 'a' has no `pairs` called 'copy'; add them "
            "to the prompt file, or list [query, key] pairs");
}

TEST_F(InterventionsTest, WhatTheModelLacksIsNamedTogether) {
  const Json wide = {1, 2, 3, 4, 5};
  EXPECT_EQ(
      problem({z_edit({{"operation", "zero"}, {"layer", 3}}),
               z_edit({{"operation", "zero"}, {"layer", -4}, {"heads", {2}}}),
               z_edit({{"operation", "zero"}, {"site", "v"}, {"heads", {1}}}),
               z_edit({{"operation", "replace"}, {"value", wide}}),
               {{"site", "mlp_hidden"},
                {"layer", 0},
                {"positions", "all"},
                {"operation", "add"},
                {"direction", wide}}}),
      "input: e.jsonl:1: edits[0].layer: there is no layer 3: the model has layers 0..2 (-1 is the "
      "last)\n"
      "e.jsonl:2: edits[0].layer: there is no layer -4: the model has layers 0..2 (-1 is the "
      "last)\n"
      "e.jsonl:2: edits[0].heads: there is no head 2: site 'z' of this model has heads 0..1\n"
      "e.jsonl:3: edits[0].heads: there is no head 1: site 'v' of this model has key/value heads "
      "0..0\n"
      "e.jsonl:4: edits[0].value: has 5 numbers, but one head of site 'z' of this model has 4\n"
      "e.jsonl:5: edits[0].direction: has 5 numbers, but site 'mlp_hidden' of this model has 16");
}

TEST_F(InterventionsTest, WhatPromptsLackIsNamedTogether) {
  const Json edges = {{"site", "q"}, {"layer", 0}, {"heads", {0}}, {"operation", "cut"}};
  EXPECT_EQ(
      problem({z_edit({{"operation", "zero"}, {"positions", {2}}}),
               z_edit({{"operation", "zero"}, {"positions", "nome"}}),
               z_edit({{"operation", "replace"}, {"donor", {{"prompt", "b"}}}}),
               z_edit({{"operation", "resample"}}),
               z_edit({{"operation", "mean"}, {"per", "all"}, {"positions", {0}}}),
               [&] {
                 Json edit = edges;
                 edit["edges"] = {{-1, 1}, {-3, 1}};
                 return edit;
               }()}),
      "input: e.jsonl:1: edits[0].positions: prompt 'a' has 2 tokens and no position 2\n"
      "e.jsonl:2: edits[0].positions: `positions` is 'nome', which is neither all, each, "
      "targets nor a span of prompt 'a' (it has: name)\n"
      "e.jsonl:3: edits[0].donor: donor prompt 'b' has 3 tokens and prompt 'a' has 2; a donor "
      "must be as long as every prompt of the run\n"
      "e.jsonl:4: edits[0].operation: prompt 'a' of set 'p' is the only one of 2 tokens, so "
      "`resample` has no donor for it; add prompts of that length, or use another operation\n"
      "e.jsonl:5: edits[0].operation: prompt 'b' of set 'p' has no other prompt in its set "
      "with 3 tokens or more, so there is no mean for its position 0; add such prompts, or "
      "edit later positions only\n"
      "e.jsonl:6: edits[0].edges: prompt 'a' has 2 tokens and no position -3");
}

TEST_F(InterventionsTest, DonorsThatAreNotThereAreNamed) {
  prompts_.prompts[1].corrupt_tokens.clear();
  const auto donor = [](const Json& value) {
    return z_edit({{"operation", "replace"}, {"donor", value}});
  };
  EXPECT_EQ(
      problem({donor({{"prompt", "z"}}), donor({{"prompt", 2}}),
               donor({{"prompt", 1}, {"side", "corrupt"}})}),
      "input: e.jsonl:1: edits[0].donor.prompt: no prompt of set 'p' has the id 'z'\n"
      "e.jsonl:2: edits[0].donor.prompt: there is no prompt 2: set 'p' has prompts 0..1\n"
      "e.jsonl:3: edits[0].donor.side: prompt 'b' has no corrupt partner; take its clean run, "
      "or give it `corrupt_tokens`");
  EXPECT_EQ(problem({donor("corrupt")}),
            "input: prompt 'b' of set 'p' has no corrupt partner, and this experiment needs one; "
            "give it `corrupt_tokens` or `corrupt_text`");
}

TEST_F(InterventionsTest, ParametersAreTheContentNotThePath) {
  const std::string line = R"({"edits": [{"operation": "zero", "positions": [-1], "layer": 1,)"
                           R"( "heads": [1, 0], "site": "z"}]})";
  const std::string same = R"({"edits": [ {"site": "z", "layer": 1, "heads": [0, 1],)"
                           R"("positions": [-1], "operation": "zero"}], "id": "1"})";
  folder_.write("e.jsonl", line + "\n");
  folder_.write("f.jsonl", same);
  folder_.write("g.jsonl", line + "\n" + line);
  const auto parameters = [&](const std::string& file) {
    return parsed({{"file", file}}).experiment->parameters(folder_.path());
  };
  const Json json = parameters("e.jsonl");
  EXPECT_EQ(json, parameters("f.jsonl"));
  EXPECT_NE(json, parameters("g.jsonl"));
  EXPECT_EQ(json.at("interventions").dump(),
            R"([{"downstream":"recompute","edits":[{"heads":[0,1],"layer":1,"operation":"zero",)"
            R"("positions":[-1],"site":"z"}],"id":"1"}])");
  EXPECT_EQ(json.at("base"), "clean");
  EXPECT_EQ(json.dump().find("e.jsonl"), std::string::npos);
}

TEST_F(InterventionsTest, LongListsStandByTheirHash) {
  std::string text;
  for (int i = 0; i < 1000; ++i)
    text += Json{{"edits", {z_edit({{"operation", "zero"}, {"positions", {-1 - i % 2}}})}}}.dump() +
            "\n";
  folder_.write("e.jsonl", text);
  const Json json = parsed().experiment->parameters(folder_.path());
  EXPECT_EQ(json.at("count"), 1000);
  EXPECT_FALSE(json.contains("interventions"));
  text.replace(text.find("-2"), 2, "-1");
  folder_.write("e.jsonl", text);
  EXPECT_NE(json.at("sha256"), parsed().experiment->parameters(folder_.path()).at("sha256"));
}

TEST_F(InterventionsTest, ConfigsThatAreWrongAreNamed) {
  EXPECT_THAT(parsed(Json::object()).problems.lines(),
              ElementsAre("s.yaml:9:1: the key 'file' is missing"));
  EXPECT_THAT(parsed({{"file", "'"}, {"base", "both"}}).problems.lines(),
              ElementsAre("s.yaml:11:5: file: must be the path of a JSON Lines file of "
                          "interventions",
                          "s.yaml:10:5: base: unknown value 'both' (known: clean, corrupt)"));
  EXPECT_THAT(failure([&] {
                (void)parsed({{"file", "none"}}).bind(model_, prompts_);
              }),
              testing::StartsWith("input: " + folder_.file("none")));
}

}  // namespace
}  // namespace mechsweep
