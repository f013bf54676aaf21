#include "plan/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "unit/plan/sweep_files.h"

namespace mechsweep {
namespace {

using test_plan::Folder;
using test_plan::good_config;
using test_plan::replaced;
using testing::ElementsAre;

/// The lines of the usage Error that reading gives, without the file's name in front.
std::vector<std::string> problems(const std::string& text) {
  const Folder folder;
  const std::string path = folder.write("c.yaml", text);
  try {
    (void)read_sweep(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    std::vector<std::string> lines;
    std::istringstream stream(error.what());
    for (std::string line; std::getline(stream, line);) {
      EXPECT_TRUE(line.starts_with(path + ":")) << line;
      lines.push_back(line.substr(path.size() + 1));
    }
    return lines;
  }
  return {"nothing was thrown"};
}

/// good_config() with one piece replaced, which must be there.
std::vector<std::string> problems(const std::string& from, const std::string& to) {
  const std::string text = good_config();
  EXPECT_NE(text.find(from), std::string::npos) << from;
  return problems(replaced(text, from, to));
}

constexpr const char* kHeads = "id: heads, kind: head_ablation, operation: zero, positions: all";

std::vector<std::string> with_heads(const std::string& keys) {
  return problems(kHeads, "id: heads, kind: head_ablation, " + keys);
}

TEST(Sweep, AGoodConfigIsReadWithItsDefaults) {
  const Folder folder;
  const Sweep sweep = read_sweep(folder.write("c.yaml", good_config()));
  EXPECT_EQ(sweep.name, "small");
  EXPECT_EQ(sweep.seed, 5U);
  EXPECT_EQ(sweep.text, good_config());
  EXPECT_EQ(sweep.output_file, "out.h5");
  ASSERT_EQ(sweep.models.size(), 1U);
  EXPECT_EQ(sweep.models[0].id, "llama");
  EXPECT_EQ(sweep.models[0].dtype, "float32");
  ASSERT_EQ(sweep.experiments.size(), 2U);
  EXPECT_EQ(sweep.experiments[1].kind, "head_ablation");
  EXPECT_THAT(sweep.experiments[1].models, ElementsAre("llama"));
  EXPECT_THAT(sweep.experiments[1].prompts, ElementsAre("rep"));
  EXPECT_EQ(sweep.experiments[1].experiment->parameters("").dump(),
            R"({"downstream":"recompute","heads":"all","layers":"all","operation":"zero",)"
            R"("positions":"all","readouts":[],"top_k":0})");
  EXPECT_EQ(sweep.execution.executor, "wavefront");
  EXPECT_EQ(sweep.prompt_set("rep").kind, "repeated_random");
}

TEST(Sweep, ModelPathsAreRelativeToTheConfig) {
  const Folder folder;
  const std::string text = replaced(good_config(), test_plan::checkpoint("llama-random"), "../m/x");
  const Sweep sweep = read_sweep(folder.write("c.yaml", text));
  EXPECT_EQ(sweep.models[0].path, "../m/x");
  EXPECT_EQ(std::filesystem::path(sweep.models[0].resolved).lexically_normal(),
            std::filesystem::path(folder.file("../m/x")).lexically_normal());
}

TEST(Sweep, MissingFilesAndPartsAreNamed) {
  try {
    (void)read_sweep("/nowhere/c.yaml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_THAT(error.what(), testing::HasSubstr("/nowhere/c.yaml"));
  }
  EXPECT_THAT(problems("name: x\n"),
              ElementsAre("1:1: the key 'models' is missing", "1:1: the key 'prompts' is missing",
                          "1:1: the key 'experiments' is missing"));
  EXPECT_THAT(problems("name: small\n", ""), ElementsAre("1:1: the key 'name' is missing"));
  EXPECT_THAT(problems("- a\n"), testing::Contains("1:1: must be a map of keys and values, not a "
                                                   "list"));
}

TEST(Sweep, UnknownKeysComeWithTheNearestOne) {
  EXPECT_THAT(
      problems("seed: 5", "sead: 5"),
      ElementsAre("2:1: sead: unknown key; did you mean 'seed'? (known: grid, "
                  "relative_to, name, seed, models, prompts, experiments, execution, output)"));
  EXPECT_THAT(problems("{id: llama, ", "{id: llama, dtpe: float32, "),
              ElementsAre("4:17: models[0].dtpe: unknown key; did you mean 'dtype'? (known: id, "
                          "path, dtype, tensor_parallel, reference)"));
  EXPECT_THAT(problems("{kernels: onednn}", "{kernel: onednn}"),
              ElementsAre("10:13: execution.kernel: unknown key; did you mean 'kernels'? (known: "
                          "executor, kernels, memory_gib, threads_per_rank, sync_interval_s, "
                          "store, watchdog)"));
  EXPECT_THAT(problems("{kernels: onednn}", "{store: logs}"),
              ElementsAre("10:20: execution.store: unknown value 'logs'; did you mean 'log'? "
                          "(known: auto, shared, force_shared, log)"));
  EXPECT_THAT(problems("{file: out.h5}", "{file: out.h5, path: x}"),
              ElementsAre("11:24: output.path: unknown key (known: file)"));
  EXPECT_THAT(problems("scores: [induction]", "scores: [induction], occurence: all"),
              ElementsAre("8:63: experiments[0].occurence: unknown key; did you mean "
                          "'occurrence'? (known: id, kind, scores, occurrence, queries, "
                          "by_position, lags, lag_split, null_sources, top_fraction, top_heads, "
                          "models, prompts, "
                          "statistics)"));
}

TEST(Sweep, ListsOfEntriesAreChecked) {
  EXPECT_THAT(problems("name: a\nmodels: x\nprompts: []\nexperiments: {a: 1}\n"),
              ElementsAre("2:9: models: must be a list with at least one entry",
                          "3:10: prompts: must be a list with at least one entry",
                          "4:14: experiments: must be a list with at least one entry"));
  EXPECT_THAT(problems("  - {id: scores, kind: attention_scores, scores: [induction]}", "  - x"),
              ElementsAre("8:5: experiments[0]: must be a map of keys and values, not 'x'"));
  EXPECT_THAT(problems("output: {file: out.h5}", "output: out.h5"),
              ElementsAre("11:9: output: must be a map of keys and values, not 'out.h5'"));
  EXPECT_THAT(problems("output: {file: out.h5}", "output: {}"),
              ElementsAre("11:9: output: the key 'file' is missing"));
}

TEST(Sweep, IdsAreNamesAndUnique) {
  const std::string rule =
      "must be made of at most 100 letters, digits, '_', '-' and '.', and not begin with '.'";
  EXPECT_THAT(problems("id: heads", "id: a/b"), ElementsAre("9:10: experiments[1].id: " + rule));
  EXPECT_THAT(problems("id: heads", "id: .a"), ElementsAre("9:10: experiments[1].id: " + rule));
  EXPECT_THAT(problems("id: heads", "id: \"\""), ElementsAre("9:10: experiments[1].id: " + rule));
  EXPECT_THAT(problems("id: heads", "id: " + std::string(101, 'a')),
              ElementsAre("9:10: experiments[1].id: " + rule));
  EXPECT_THAT(problems("id: heads", "id: scores"),
              ElementsAre("9:10: experiments[1].id: the id 'scores' is given twice"));
  EXPECT_THAT(problems("id: heads, ", ""),
              ElementsAre("9:5: experiments[1]: the key 'id' is missing"));
  EXPECT_THAT(problems("id: heads", "id: [a]"),
              testing::Contains("9:10: experiments[1].id: must be text, not a list"));
}

TEST(Sweep, ReferencesMustLeadSomewhere) {
  EXPECT_THAT(with_heads("operation: zero, positions: all, models: [lama]"),
              ElementsAre("9:80: experiments[1].models[0]: no entry of `models` has the id 'lama'; "
                          "did you mean 'llama'?"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, prompts: [rep, other]"),
              ElementsAre("9:86: experiments[1].prompts[1]: no entry of `prompts` has the id "
                          "'other'"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, prompts: [rep, rep]"),
              ElementsAre("9:86: experiments[1].prompts[1]: names 'rep' twice"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, prompts: []"),
              ElementsAre("9:80: experiments[1].prompts: is empty; leave it out for all"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, prompts: {a: b}"),
              ElementsAre("9:80: experiments[1].prompts: must be a list of texts, not a map"));
}

TEST(Sweep, AnUnknownKindIsTheOnlyProblemOfItsEntry) {
  EXPECT_THAT(problems("kind: head_ablation", "kind: head_ablatoin"),
              ElementsAre("9:23: experiments[1].kind: unknown value 'head_ablatoin'; did you mean "
                          "'head_ablation'? (known: activation_patching, attention_edges, "
                          "attention_scores, component_ablation, direct_logit_attribution, "
                          "head_ablation, interventions, logit_lens)"));
  EXPECT_THAT(problems("kind: head_ablation, ", ""),
              ElementsAre("9:5: experiments[1]: the key 'kind' is missing"));
  const auto prompts = problems("kind: repeated_random", "kind: repeated_randm");
  ASSERT_EQ(prompts.size(), 1U);
  EXPECT_THAT(prompts[0], testing::StartsWith("6:21: prompts[0].kind: unknown value "
                                              "'repeated_randm'; did you mean 'repeated_random'?"));
}

TEST(Sweep, WhatThisVersionLacksIsNamed) {
  EXPECT_THAT(
      problems("seed: 5\n", "seed: 5\ngrid: {a: [1]}\n"),
      ElementsAre("3:7: grid: a config with `grid:` stands for several; expand it first: mechsweep "
                  "grid CONFIG --out FOLDER"));
  for (const char* dtype : {"float32", "bfloat16", "float16"})
    EXPECT_THAT(problems("{id: llama, ", fmt::format("{{id: llama, dtype: {}, ", dtype)),
                ElementsAre("nothing was thrown"));
  EXPECT_THAT(problems("{id: llama, ", "{id: llama, tensor_parallel: 4, "),
              ElementsAre("4:34: models[0].tensor_parallel: tensor parallelism is not supported by "
                          "this version; use 1"));
  EXPECT_THAT(with_heads("operation: replace, positions: all"),
              ElementsAre("9:49: experiments[1].operation: unknown value 'replace' (known: zero, "
                          "value_bias, mean, resample)"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, evaluate: half_b"),
              ElementsAre("9:81: experiments[1].evaluate: goes with `heads: {top: ...}` only"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, controls: {random_k: 2, match: layer}"),
              ElementsAre("9:81: experiments[1].controls: goes with `heads: {top: ...}` and "
                          "`heads: {sets: ...}` only"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, statistics: {correct_in: [lama]}"),
              ElementsAre(testing::HasSubstr(
                  "experiments[1].statistics.correct_in[0]: unknown value 'lama'; did you mean "
                  "'llama'?")));
  EXPECT_THAT(with_heads("operation: zero, positions: all, downstream: frozen"),
              ElementsAre("9:83: experiments[1].downstream: unknown value 'frozen' (known: "
                          "recompute, freeze)"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, downstream: recompute"),
              ElementsAre("nothing was thrown"));
}

TEST(Sweep, ValuesOutOfRangeAreNamed) {
  EXPECT_THAT(problems("seed: 5", "seed: -1"),
              ElementsAre("2:7: seed: must be a whole number of at least 0, not '-1'"));
  EXPECT_THAT(problems("{id: llama, ", "{id: llama, dtype: float8, "),
              ElementsAre("4:24: models[0].dtype: unknown value 'float8'; did you mean 'float32'? "
                          "(known: float32, bfloat16, float16)"));
  EXPECT_THAT(problems("kernels: onednn", "kernels: mkl"),
              ElementsAre("10:22: execution.kernels: unknown value 'mkl' (known: native, "
                          "onednn, aten)"));
  EXPECT_THAT(problems("kernels: onednn", "threads_per_rank: 0"),
              ElementsAre("10:31: execution.threads_per_rank: must be a whole number from 1 to "
                          "4096, not '0'"));
  EXPECT_THAT(problems("kernels: onednn", "memory_gib: lots"),
              ElementsAre("10:25: execution.memory_gib: must be a number from 0.01 to 1000000, not "
                          "'lots'"));
}

TEST(Sweep, ExperimentsCheckTheirOwnKeys) {
  EXPECT_THAT(with_heads("positions: all"),
              ElementsAre("9:5: experiments[1]: the key 'operation' is missing"));
  EXPECT_THAT(with_heads("operation: zero"),
              ElementsAre("9:5: experiments[1]: the key 'positions' is missing"));
  EXPECT_THAT(with_heads("operation: [], positions: all"),
              ElementsAre("9:49: experiments[1].operation: names no operation"));
  EXPECT_THAT(with_heads("operation: [zero, zero], positions: all"),
              ElementsAre("9:56: experiments[1].operation[1]: names 'zero' twice"));
  EXPECT_THAT(with_heads("operation: zero, positions: 3"),
              ElementsAre("9:66: experiments[1].positions: a single position is written as a list: "
                          "[3]"));
  EXPECT_THAT(with_heads("operation: zero, positions: all, heads: [L0H0], layers: 1"),
              ElementsAre("9:94: experiments[1].layers: goes with `heads: all` only: named heads "
                          "carry their layers"));
  const std::string patching = "id: heads, kind: activation_patching, ";
  EXPECT_THAT(problems(kHeads, patching + "site: resid_pre, positions: all, direction: back"),
              ElementsAre("9:88: experiments[1].direction: unknown value 'back' (known: "
                          "clean_to_corrupt, corrupt_to_clean)"));
  EXPECT_THAT(problems(kHeads, patching + "site: resid, positions: all, heads: all, direction: "
                                          "clean_to_corrupt"),
              ElementsAre("9:50: experiments[1].site: unknown value 'resid' (known: resid_pre, q, "
                          "k, v, pattern, z, attn_out, resid_mid, mlp_in, mlp_norm, mlp_hidden, "
                          "mlp_out, resid_post)"));
  EXPECT_THAT(
      problems(kHeads, patching + "site: mlp_out, positions: all, heads: [L0H0], direction: "
                                  "clean_to_corrupt"),
      ElementsAre("9:82: experiments[1].heads: site 'mlp_out' has no heads; leave `heads` "
                  "out, or use site z"));
}

TEST(Sweep, AllProblemsAreReportedTogether) {
  std::string text = replaced(good_config(), "seed: 5", "seed: x");
  text = replaced(text, "period: 4", "period: 0");
  text = replaced(text, "id: heads", "id: scores");
  text = replaced(text, "kernels: onednn", "kernels: none");
  const auto lines = problems(text);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_THAT(lines[0], testing::StartsWith("2:7: seed: must be a whole number"));
  EXPECT_THAT(lines[1], testing::StartsWith("6:56: prompts[0].period: must be a whole number"));
  EXPECT_THAT(lines[2], testing::StartsWith("9:10: experiments[1].id: the id 'scores'"));
  EXPECT_THAT(lines[3], testing::StartsWith("10:22: execution.kernels: unknown value 'none'"));
}

}  // namespace
}  // namespace mechsweep
