#include "plan/plan.h"

#include <openssl/sha.h>

#include <map>
#include <set>

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "unit/plan/sweep_files.h"

namespace mechsweep {
namespace {

using test_plan::Folder;
using test_plan::good_config;
using test_plan::replaced;

Plan plan_of(const std::string& text,
             const std::vector<std::pair<std::string, std::string>>& files = {}) {
  const Folder folder;
  for (const auto& [name, content] : files) folder.write(name, content);
  OpenedSweep opened = open_sweep(folder.write("c.yaml", text));
  auto hashes = hash_models(opened);
  return make_plan(std::move(opened), std::move(hashes));
}

std::string key_of(const std::string& from, const std::string& to) {
  const std::string text = good_config();
  EXPECT_NE(text.find(from), std::string::npos) << from;
  return plan_of(replaced(text, from, to)).key;
}

/// SHA-256 by OpenSSL's plain function, in hexadecimal.
std::string sha256(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::vector<std::string> facts(const Plan& plan) {
  std::vector<std::string> all = {plan.key};
  for (const PlannedRun& run : plan.runs) all.push_back(run.id);
  for (const Unit& unit : plan.units)
    all.push_back(fmt::format("{} {} {} {}", unit.id, unit.run, unit.stage, unit.flops));
  return all;
}

TEST(Plan, IsTheSameWheneverItIsMade) {
  EXPECT_EQ(facts(plan_of(good_config())), facts(plan_of(good_config())));
}

TEST(Plan, RunsAreEveryExperimentOnItsModelsAndPrompts) {
  const std::string two_models =
      replaced(good_config(), "models:\n",
               "models:\n  - {id: gpt, path: " + test_plan::checkpoint("gpt2-random") + "}\n");
  const std::string text =
      replaced(two_models, "scores: [induction]", "scores: [induction], models: [llama]");
  const Plan plan = plan_of(text);
  std::vector<std::string> ids;
  for (const PlannedRun& run : plan.runs) ids.push_back(run.id);
  EXPECT_THAT(ids, testing::ElementsAre("scores/llama/rep", "heads/gpt/rep", "heads/llama/rep"));
  EXPECT_EQ(plan.prompts.size(), 2U);  // one set for each model, shared by experiments
  EXPECT_EQ(plan.runs[0].prompts, plan.runs[2].prompts);
}

TEST(Plan, UnitIdsAreHashesOfCanonicalJson) {
  const Plan plan = plan_of(good_config());
  std::set<std::string> ids;
  for (const Unit& unit : plan.units) {
    const std::string stage = plan.runs[unit.run].stages[unit.stage].name;
    const std::string json = fmt::format(
        R"({{"first":[{},{}],"prompts":[{},{}],"run":"{}","stage":"{}"}})", unit.first.begin,
        unit.first.end, unit.prompts.begin, unit.prompts.end, plan.runs[unit.run].id, stage);
    EXPECT_EQ(unit.id, sha256(json)) << json;
    EXPECT_TRUE(ids.insert(unit.id).second) << "two units are the same";
  }
  EXPECT_EQ(plan.key, sha256(plan.identity.dump()));
}

/// Costs whatever it is told to.
class CostOnly final : public Run {
 public:
  explicit CostOnly(std::vector<double> costs, double shared = 0.0)
      : costs_(std::move(costs)), shared_(shared) {}
  [[nodiscard]] std::vector<ArraySpec> arrays() const override { return {}; }
  [[nodiscard]] std::vector<StageSpec> stages() const override { return {}; }
  [[nodiscard]] Json attributes() const override { return Json::object(); }
  [[nodiscard]] double flops(int /*stage*/, int64_t prompt, int64_t /*first*/) const override {
    return costs_[prompt % static_cast<int64_t>(costs_.size())];
  }
  [[nodiscard]] double shared_flops(int /*stage*/, int64_t /*prompt*/) const override {
    return shared_;
  }
  [[nodiscard]] UnitResult execute(int, Range, Range, const UnitInputs&) const override {
    return {};
  }

 private:
  std::vector<double> costs_;
  double shared_;
};

TEST(CutUnits, CoverEveryPlaceOnceWhateverTheShape) {
  for (const int64_t prompts : {1, 2, 3, 7, 8, 9, 64, 100})
    for (const int64_t first : {0, 1, 2, 3, 5, 30})
      for (const double cost : {1.0, 1e9, 1e11, 3e12}) {
        SCOPED_TRACE(fmt::format("{} prompts, {} first, cost {}", prompts, first, cost));
        const CostOnly run({cost, 3 * cost, cost / 2});
        const auto units = cut_units("e/m/p", 4, 1, {"edited", {}, first}, prompts, run);
        const int64_t columns = std::max<int64_t>(1, first);
        std::vector<int> seen(prompts * columns, 0);
        double total = 0.0;
        for (const Unit& unit : units) {
          EXPECT_EQ(unit.run, 4);
          EXPECT_EQ(unit.stage, 1);
          EXPECT_GT(unit.prompts.size(), 0);
          EXPECT_EQ(unit.first.size() > 0, first > 0);
          const Range range = first > 0 ? unit.first : Range{0, 1};
          double flops = 0.0;
          for (int64_t p = unit.prompts.begin; p < unit.prompts.end; ++p)
            for (int64_t f = range.begin; f < range.end; ++f) {
              ++seen.at(p * columns + f);
              flops += run.flops(1, p, f);
            }
          EXPECT_DOUBLE_EQ(unit.flops, flops);
          total += flops;
        }
        EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
        // Enough pieces for several ranks, where there are as many places and much to do.
        if (total >= kFewestUnits * kSmallestUnitFlops) {
          EXPECT_GE(std::ssize(units), std::min<int64_t>(kFewestUnits, prompts * columns) / 2);
        }
        if (total <= kSmallestUnitFlops) {
          EXPECT_EQ(units.size(), 1U);
        }
        EXPECT_LE(std::ssize(units), prompts * columns);
        EXPECT_GT(total, 0.0);
      }
}

TEST(CutUnits, WorkWithoutCostIsOneUnit) {
  const auto units = cut_units("e/m/p", 0, 0, {"scores", {}, 0}, 5, CostOnly({0.0}));
  ASSERT_EQ(units.size(), 1U);
  EXPECT_EQ(units[0].prompts, (Range{0, 5}));
  EXPECT_EQ(units[0].first, (Range{0, 0}));
}

TEST(CutUnits, LargeWorkIsCutToTheNominalSize) {
  const auto units = cut_units("e/m/p", 0, 0, {"scores", {}, 0}, 1000, CostOnly({kUnitFlops / 4}));
  EXPECT_EQ(units.size(), 250U);
  for (const Unit& unit : units) EXPECT_LE(unit.flops, kUnitFlops);
}

TEST(CutUnits, EveryUnitPaysItsPromptsSharedRunsOnce) {
  // One prompt of 4 places that take a whole unit each: every place pays the shared run again.
  const CostOnly one({kUnitFlops}, 7e10);
  const auto units = cut_units("e/m/p", 0, 1, {"edited", {}, 4}, 1, one);
  ASSERT_GT(units.size(), 1U);
  double total = 0.0;
  for (const Unit& unit : units) {
    EXPECT_DOUBLE_EQ(unit.flops, static_cast<double>(unit.first.size()) * kUnitFlops + 7e10);
    total += unit.flops;
  }
  EXPECT_DOUBLE_EQ(total, 4 * kUnitFlops + 7e10 * static_cast<double>(units.size()));
}

TEST(Key, ChangesWithEverythingThatChangesANumber) {
  const std::string key = plan_of(good_config()).key;
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"seed: 5", "seed: 6"},
      {"llama-random}", "llama-random-sharded}"},
      {"id: llama", "id: lama"},
      {"count: 3", "count: 4"},
      {"prefix: none", "prefix: 7"},
      {"id: rep", "id: repeats"},
      {"operation: zero", "operation: [zero]"},
      {"positions: all", "positions: targets"},
      {"positions: all", "positions: all, layers: 1"},
      {"positions: all", "positions: all, downstream: freeze"},
      {"positions: all", "positions: all, readouts: [kl]"},
      {"positions: all", "positions: all, top_k: 3"},
      {"positions: all", "positions: all, statistics: {bootstrap: {resamples: 50}}"},
      {"id: heads", "id: head"},
      {"kernels: onednn", "kernels: aten"},
      {"scores: [induction]", "scores: [induction], occurrence: all"},
  };
  std::set<std::string> keys = {key};
  for (const auto& [from, to] : changes)
    EXPECT_TRUE(keys.insert(key_of(from, to)).second) << from << " -> " << to;
}

TEST(Key, DoesNotChangeWithAnythingElse) {
  const std::string key = plan_of(good_config()).key;
  EXPECT_EQ(key, key_of("name: small", "name: other"));
  EXPECT_EQ(key, key_of("{kernels: onednn}",
                        "{kernels: onednn, executor: naive, memory_gib: 1, threads_per_rank: 2}"));
  EXPECT_EQ(key, key_of("output: {file: out.h5}\n", ""));
  EXPECT_EQ(key, key_of("seed: 5\n", "\n# five\nseed:   5\n"));
  EXPECT_EQ(key, key_of("period: 4, repeats: 2", "repeats: 2, period: 4"));
  EXPECT_EQ(key, key_of("positions: all", "positions: all, heads: all, layers: all"));
  EXPECT_EQ(key, key_of("positions: all", "positions: all, models: [llama], prompts: rep"));
}

TEST(Key, ChangesWithTheOrderOfRunsSinceUnitsAreNumberedByIt) {
  const std::string scores = "  - {id: scores, kind: attention_scores, scores: [induction]}\n";
  const std::string heads =
      "  - {id: heads, kind: head_ablation, operation: zero, positions: all}\n";
  EXPECT_NE(plan_of(good_config()).key, key_of(scores + heads, heads + scores));
}

TEST(Key, FollowsThePromptFilesContentNotItsName) {
  const std::string config = replaced(
      good_config(), "kind: repeated_random, count: 3, period: 4, repeats: 2, prefix: none",
      "kind: file, path: a.jsonl");
  const std::string one = "{\"tokens\": [1, 2], \"answer\": 3, \"id\": \"x\"}\n";
  const std::string other = "{\"tokens\": [1, 2], \"answer\": 4, \"id\": \"x\"}\n";
  const std::string key = plan_of(config, {{"a.jsonl", one}}).key;
  EXPECT_NE(key, plan_of(config, {{"a.jsonl", other}}).key);
  EXPECT_EQ(key, plan_of(replaced(config, "a.jsonl", "b.jsonl"), {{"b.jsonl", one}}).key);
}

TEST(Key, FollowsTheInterventionsFilesContentNotItsName) {
  const std::string config =
      replaced(good_config(), "kind: head_ablation, operation: zero, positions: all",
               "kind: interventions, file: a.jsonl");
  const std::string one = R"({"edits": [{"site": "v", "layer": 0, "heads": [1], "positions": [0], )"
                          R"("operation": "zero"}]})";
  const std::string key = plan_of(config, {{"a.jsonl", one}}).key;
  EXPECT_EQ(key, plan_of(config, {{"a.jsonl", one + "\n\n"}}).key);
  EXPECT_EQ(key, plan_of(replaced(config, "a.jsonl", "b.jsonl"), {{"b.jsonl", one}}).key);
  EXPECT_NE(key, plan_of(config, {{"a.jsonl", replaced(one, "[1]", "[0]")}}).key);
  try {
    (void)plan_of(config, {{"a.jsonl", replaced(one, "[1]", "[2]")}});
    FAIL() << "the model has no such head";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_THAT(error.what(),
                testing::HasSubstr("a.jsonl:1: edits[0].heads: there is no head 2: site 'v' of "
                                   "this model has key/value heads 0..1"));
  }
}

std::string failure(const std::string& from, const std::string& to) {
  try {
    (void)plan_of(replaced(good_config(), from, to));
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Plan, WhatDoesNotFitIsNamedWithItsExperimentModelAndPrompts) {
  using testing::HasSubstr;
  EXPECT_THAT(
      failure("positions: all", "positions: all, layers: 3"),
      HasSubstr("c.yaml: experiment 'heads' on model 'llama': `layers` names layer 3, but the "
                "model has layers 0..2"));
  EXPECT_THAT(failure("positions: all", "positions: all, heads: [L0H4]"),
              HasSubstr("experiment 'heads' on model 'llama': `heads` names L0H4"));
  EXPECT_THAT(failure("period: 4", "period: 60"), HasSubstr("prompts 'rep' for model 'llama': "));
  EXPECT_THAT(failure("llama-random}", "nowhere}"), HasSubstr("c.yaml: model 'llama': "));
}

/// The random Llama in a folder of its own, with a byte-level tokenizer that knows the words " a",
/// " b", ... as one token each and, beyond them, single bytes only.
void write_worded_model(const std::string& path, const std::string& words) {
  std::filesystem::create_directory(path);
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::create_symlink(test_plan::checkpoint("llama-random") + "/" + file,
                                    path + "/" + file);
  Json vocabulary, merges = Json::array();
  for (const char* piece : {"\u0120", "a", "b", "c", "d"}) vocabulary[piece] = vocabulary.size();
  for (const char word : words) {
    vocabulary[std::string("\u0120") + word] = vocabulary.size();
    merges.push_back(std::string("\u0120 ") + word);
  }
  const Json tokenizer = {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}},
                          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                          {"decoder", {{"type", "ByteLevel"}}}};
  std::ofstream(path + "/tokenizer.json") << tokenizer.dump();
}

/// The texts of every prompt set, by model, or what is wrong with the sweep.
std::map<std::string, std::vector<std::string>> texts_of(const std::string& first_words,
                                                         const std::string& second_words,
                                                         const std::string& lags,
                                                         std::string* refusal = nullptr) {
  const Folder folder;
  write_worded_model(folder.file("one"), first_words);
  write_worded_model(folder.file("two"), second_words);
  folder.write("words.txt", "a\nb\nc\nd\n");
  std::map<std::string, std::vector<std::string>> texts;
  try {
    OpenedSweep opened = open_sweep(folder.write(
        "c.yaml",
        "name: words\nmodels:\n  - {id: one, path: one}\n  - {id: two, path: two}\nprompts:\n"
        "  - {id: w, kind: abab, count: 12, lags: " +
            lags +
            ", seq_len: 8, path: words.txt, prefix: none}\nexperiments:\n"
            "  - {id: s, kind: attention_scores, scores: [induction]}\n"));
    auto hashes = hash_models(opened);
    const Plan plan = make_plan(std::move(opened), std::move(hashes));
    for (const auto& planned : plan.prompts)
      for (const Prompt& prompt : planned->set.prompts)
        texts[plan.models[planned->model].entry->id].push_back(prompt.text);
  } catch (const Error& error) {
    EXPECT_NE(refusal, nullptr) << error.what();
    if (refusal != nullptr) *refusal = error.what();
  }
  return texts;
}

TEST(Plan, ModelsThatShareAPromptSetGetTheSameWords) {
  const auto texts = texts_of("abd", "bcda", "[1, 2, 3]");
  ASSERT_EQ(texts.size(), 2U);
  EXPECT_EQ(texts.at("one").size(), 12U);
  EXPECT_EQ(texts.at("one"), texts.at("two"));
  for (const std::string& text : texts.at("one"))
    EXPECT_EQ(text.find('c'), std::string::npos) << "one model has no token for it: " << text;
  std::string refusal;
  (void)texts_of("abd", "bcda", "[4]", &refusal);
  EXPECT_THAT(refusal, testing::EndsWith(
                           "words.txt has 4 words, of which 1 are not one token of their own for "
                           "model 'one', such as 'c' (2 tokens); 3 are left and 4 are needed; give "
                           "a longer list, or leave out the lag 4"));
  EXPECT_THAT(refusal, testing::StartsWith("prompts 'w' for model 'one': "));
}

}  // namespace
}  // namespace mechsweep
