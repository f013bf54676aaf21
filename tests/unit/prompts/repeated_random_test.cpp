#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/prompts/fake_tokenizer.h"
#include "tests/unit/prompts/prompt_set_support.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;

PromptContext ids_only(int vocab_size) {
  return {nullptr, vocab_size, 1000, 0, 42, ""};
}

PromptEntry entry(const std::string& count, const std::string& period, const std::string& repeats,
                  const std::string& prefix, const std::string& id = "p") {
  return {"repeated_random",
          {{"count", count}, {"period", period}, {"repeats", repeats}, {"prefix", prefix}},
          id};
}

TEST(RepeatedRandom, RepeatsDistinctTokensAndAsksForEveryPredictableOne) {
  const auto prompts = entry("20", "5", "3", "bos").make(ids_only(50));
  ASSERT_EQ(prompts.size(), 20U);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Prompt& prompt = prompts[i];
    EXPECT_EQ(prompt.id, "p" + std::to_string(i));
    ASSERT_EQ(prompt.tokens.size(), 16U);
    EXPECT_EQ(prompt.prefix_length, 1);
    EXPECT_EQ(prompt.tokens[0], 0);
    const std::set<int32_t> period(prompt.tokens.begin() + 1, prompt.tokens.begin() + 6);
    EXPECT_EQ(period.size(), 5U);
    EXPECT_EQ(period.count(0), 0U) << "the prefix is no content token";
    for (size_t t = 6; t < 16; ++t) EXPECT_EQ(prompt.tokens[t], prompt.tokens[t - 5]);
    // Positions 6..14 lie after the first period and have a next token.
    ASSERT_EQ(prompt.targets.size(), 9U);
    for (int32_t k = 0; k < 9; ++k)
      EXPECT_EQ(prompt.targets[k], (Target{6 + k, prompt.tokens[7 + k], {}}));
    EXPECT_EQ(prompt.spans,
              (std::map<std::string, Span>{
                  {"period_1", {1, 6}}, {"period_2", {6, 11}}, {"period_3", {11, 16}}}));
    EXPECT_TRUE(prompt.template_label.empty());
    EXPECT_TRUE(prompt.corrupt_tokens.empty());
    EXPECT_NO_THROW(check_prompt(prompt, 50, 16));
  }
}

TEST(RepeatedRandom, CanAskForTheLastPredictableTokenOnly) {
  PromptEntry last(
      "repeated_random",
      {{"count", "3"}, {"period", "5"}, {"repeats", "3"}, {"prefix", "bos"}, {"targets", "last"}});
  const auto all = entry("3", "5", "3", "bos").make(ids_only(50));
  const auto prompts = last.make(ids_only(50));
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(prompts[i].tokens, all[i].tokens);
    EXPECT_EQ(prompts[i].targets, (std::vector<Target>{{14, prompts[i].tokens[15], {}}}));
  }
}

TEST(RepeatedRandom, PrefixNoneAndAnId) {
  const auto bare = entry("1", "4", "2", "none").make(ids_only(50));
  EXPECT_EQ(bare[0].prefix_length, 0);
  EXPECT_EQ(bare[0].tokens.size(), 8U);
  EXPECT_EQ(bare[0].targets.front().at, 4);
  const auto seven = entry("200", "4", "2", "7").make(ids_only(9));
  for (const Prompt& prompt : seven) {
    EXPECT_EQ(prompt.tokens[0], 7);
    for (size_t t = 1; t < prompt.tokens.size(); ++t) {
      EXPECT_NE(prompt.tokens[t], 7);
      EXPECT_NE(prompt.tokens[t], 0) << "BOS is special also where it is not the prefix";
    }
  }
}

TEST(RepeatedRandom, APromptDependsOnSeedIdAndItsNumberOnly) {
  const auto few = entry("10", "8", "2", "none").make(ids_only(100));
  const auto many = entry("100", "8", "2", "none").make(ids_only(100));
  for (size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i].tokens, many[i].tokens);
  std::set<std::vector<int32_t>> distinct;
  for (const Prompt& prompt : many) distinct.insert(prompt.tokens);
  EXPECT_EQ(distinct.size(), 100U);
  PromptContext other = ids_only(100);
  other.seed = 43;
  EXPECT_NE(entry("10", "8", "2", "none").make(other)[0].tokens, few[0].tokens);
  EXPECT_NE(entry("10", "8", "2", "none", "q").make(ids_only(100))[0].tokens, few[0].tokens);
}

// Ids 1..100 (0 is BOS); the critical value of chi-square for 99 degrees of freedom at p = 0.001
// is 148.230 (NIST/SEMATECH e-Handbook, table of critical values).
TEST(RepeatedRandom, DrawsUniformly) {
  const auto prompts = entry("4000", "10", "2", "none").make(ids_only(101));
  std::map<int32_t, int> counts;
  for (const Prompt& prompt : prompts)
    for (size_t t = 0; t < 10; ++t) ++counts[prompt.tokens[t]];
  ASSERT_EQ(counts.size(), 100U);
  EXPECT_EQ(counts.begin()->first, 1);
  EXPECT_EQ(counts.rbegin()->first, 100);
  double chi_square = 0;
  for (const auto& [id, count] : counts) chi_square += (count - 400.0) * (count - 400.0) / 400.0;
  EXPECT_LT(chi_square, 148.230);
}

TEST(RepeatedRandom, LeavesOutSpecialTokensAndRowsBeyondTheTokenizer) {
  const FakeTokenizer tokenizer;  // ids 0..399, of which 0 and 399 are special
  const PromptContext context{&tokenizer, 512, 1000, 0, 1, ""};
  const auto prompts = entry("3", "398", "2", "none").make(context);
  for (const Prompt& prompt : prompts) {
    const std::set<int32_t> drawn(prompt.tokens.begin(), prompt.tokens.end());
    EXPECT_EQ(drawn.size(), 398U);
    EXPECT_EQ(*drawn.begin(), 1);
    EXPECT_EQ(*drawn.rbegin(), 398);
  }
}

TEST(RepeatedRandom, StatesItsParameters) {
  EXPECT_EQ(entry("3", "4", "2", "bos").source().parameters({}).dump(),
            R"({"count":3,"period":4,"prefix":"bos","repeats":2,"targets":"each"})");
  EXPECT_EQ(entry("3", "4", "2", "17").source().parameters({})["prefix"], 17);
  EXPECT_EQ(entry("3", "4", "2", "none").source().parameters({})["prefix"], "none");
}

TEST(RepeatedRandom, HasNoDefaultsAndBoundsItsParameters) {
  EXPECT_THAT(PromptEntry("repeated_random", {}).problems(),
              ElementsAre("prompts[0]: the key 'count' is missing",
                          "prompts[0]: the key 'period' is missing",
                          "prompts[0]: the key 'repeats' is missing",
                          "prompts[0]: the key 'prefix' is missing"));
  EXPECT_THAT(entry("0", "1", "1", "BOS").problems(),
              ElementsAre("prompts[0].count: must be a whole number from 1 to 10000000, not '0'",
                          "prompts[0].period: must be a whole number from 2 to 10000000, not '1'",
                          "prompts[0].repeats: must be a whole number from 2 to 10000000, not '1'",
                          "prompts[0].prefix: must be none, bos or a token id of at least 0"));
  for (const char* prefix : {"-1", "1.0", "'3", "2147483648"})
    EXPECT_THAT(entry("1", "2", "2", prefix).problems(),
                ElementsAre("prompts[0].prefix: must be none, bos or a token id of at least 0"));
}

TEST(RepeatedRandom, RefusesWhatDoesNotFitTheModel) {
  EXPECT_EQ(entry("1", "50", "2", "none").failure(ids_only(50), ErrorKind::usage),
            "prompts 'p': a period of 50 distinct tokens needs more than the 49 ordinary tokens of "
            "the model; make it shorter");
  EXPECT_EQ(entry("1", "500", "2", "bos").failure(ids_only(5000), ErrorKind::usage),
            "prompts 'p': each prompt would have 1001 tokens, prefix included, but the model takes "
            "at most 1000; make it shorter");
  EXPECT_EQ(entry("1", "500", "2", "none").make(ids_only(5000))[0].tokens.size(), 1000U);
  EXPECT_THAT(entry("1", "10000000", "10000000", "none").failure(ids_only(50), ErrorKind::usage),
              testing::HasSubstr("100000000000000 tokens"));
  PromptContext no_bos = ids_only(50);
  no_bos.bos_token = -1;
  EXPECT_EQ(entry("1", "4", "2", "bos").failure(no_bos, ErrorKind::usage),
            "prefix: bos does not fit this model, which names no beginning-of-sequence token; give "
            "a token id, or none");
  EXPECT_EQ(entry("1", "4", "2", "50").failure(ids_only(50), ErrorKind::usage),
            "prefix: 50 is not a token of this model, whose ids end at 49");
}

}  // namespace
}  // namespace mechsweep
