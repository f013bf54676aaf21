#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/prompts/fake_tokenizer.h"
#include "tests/unit/prompts/prompt_checks.h"

namespace mechsweep {
namespace {

using test_prompts::chi_square;
using test_prompts::earlier_place;
using test_prompts::expect_prefix_property;
using test_prompts::expect_round_trip;
using test_prompts::searched_pairs;
using testing::ElementsAre;

PromptContext ids_only(int vocab_size, uint64_t seed = 42) {
  return {nullptr, vocab_size, 1000, 0, seed, ""};
}

PromptEntry entry(std::vector<std::pair<std::string, std::string>> more,
                  const std::string& count = "200") {
  more.insert(more.begin(), {{"count", count}, {"unit", "3"}, {"noise", "4"}, {"prefix", "bos"}});
  return {"multi_token_copy", more};
}

// Without `units` a prompt is the prefix, 4 of noise, the unit at 5..7, 4 of noise, its first two
// tokens at 12 and 13.
TEST(MultiTokenCopy, AUnitIsBegunAgainAndItsRestIsAskedFor) {
  for (const Prompt& prompt : entry({}).make(ids_only(60))) {
    ASSERT_EQ(prompt.tokens.size(), 14U);
    EXPECT_EQ(prompt.tokens[0], 0);
    EXPECT_EQ(std::set<int32_t>(prompt.tokens.begin(), prompt.tokens.begin() + 12).size(), 12U);
    EXPECT_EQ(prompt.tokens[12], prompt.tokens[5]);
    EXPECT_EQ(prompt.tokens[13], prompt.tokens[6]);
    EXPECT_EQ(prompt.targets,
              (std::vector<Target>{{12, prompt.tokens[6], {}}, {13, prompt.tokens[7], {}}}));
    EXPECT_EQ(prompt.spans, (std::map<std::string, Span>{{"unit", {5, 8}}, {"copy", {12, 14}}}));
    EXPECT_EQ(prompt.pairs, searched_pairs(prompt, {12, 13}, {5, 8}, 1));
    EXPECT_EQ(prompt.pairs.at("source"), (PositionPairs{{12, 6}, {13, 7}}));
    EXPECT_EQ(prompt.pairs.at("anti_induction"), (PositionPairs{{13, 5}}));
    EXPECT_NO_THROW(check_prompt(prompt, 60, 14));
    expect_round_trip(prompt);
  }
}

TEST(MultiTokenCopy, TheCorruptPartnerHasAnotherUnit) {
  for (const Prompt& prompt : entry({{"units", "2"}}).make(ids_only(60))) {
    ASSERT_EQ(prompt.corrupt_tokens.size(), prompt.tokens.size());
    const Span unit = prompt.spans.at("unit");
    const std::set<int32_t> clean(prompt.tokens.begin(), prompt.tokens.end());
    std::set<int32_t> other;
    for (int32_t at = 0; at < std::ssize(prompt.tokens); ++at) {
      if (at < unit.begin || at >= unit.end) {
        EXPECT_EQ(prompt.corrupt_tokens[at], prompt.tokens[at]) << at;
      } else {
        EXPECT_EQ(clean.count(prompt.corrupt_tokens[at]), 0U) << at;
        other.insert(prompt.corrupt_tokens[at]);
      }
    }
    EXPECT_EQ(other.size(), 3U);
    EXPECT_TRUE(prompt.corrupt_targets.empty()) << "the clean answers score both runs";
  }
}

// Three units at 5..7, 12..14 and 19..21, then noise and the copy at 26. 13.816 is the critical
// value of chi-square for 2 degrees of freedom at p = 0.001 (NIST/SEMATECH e-Handbook).
TEST(MultiTokenCopy, EachOfSeveralUnitsIsAskedForEquallyOften) {
  std::map<int32_t, int> asked;
  for (const Prompt& prompt : entry({{"units", "3"}}, "3000").make(ids_only(60))) {
    ASSERT_EQ(prompt.tokens.size(), 28U);
    EXPECT_EQ(std::set<int32_t>(prompt.tokens.begin(), prompt.tokens.begin() + 26).size(), 26U);
    const int32_t begin = earlier_place(prompt, 26);
    EXPECT_EQ(prompt.spans.at("unit"), (Span{begin, begin + 3}));
    EXPECT_EQ(earlier_place(prompt, 27), begin + 1);
    EXPECT_EQ(prompt.targets[1].answer, prompt.tokens[begin + 2]);
    ++asked[begin];
  }
  for (const int32_t begin : {5, 12, 19}) EXPECT_EQ(asked.count(begin), 1U) << begin;
  EXPECT_LT(chi_square(asked, 3), 13.816);
}

// 148.230: 99 degrees of freedom at p = 0.001 (the same table).
TEST(MultiTokenCopy, TokensAreEquallyLikely) {
  std::map<int32_t, int> unit, noise, corrupt;
  for (const Prompt& prompt : entry({}, "5000").make(ids_only(101))) {
    ++unit[prompt.tokens[7]];
    ++noise[prompt.tokens[11]];
    ++corrupt[prompt.corrupt_tokens[6]];
  }
  EXPECT_LT(chi_square(unit, 100), 148.230);
  EXPECT_LT(chi_square(noise, 100), 148.230);
  EXPECT_LT(chi_square(corrupt, 100), 148.230);
}

TEST(MultiTokenCopy, LettersAndNoNoise) {
  const FakeTokenizer tokenizer;
  const PromptContext context{&tokenizer, 400, 1000, 0, 1, ""};
  PromptEntry set(
      "multi_token_copy",
      {{"count", "50"}, {"unit", "13"}, {"noise", "0"}, {"pool", "letters"}, {"prefix", "none"}});
  for (const Prompt& prompt : set.make(context)) {
    ASSERT_EQ(prompt.tokens.size(), 25U);
    const auto [least, most] = std::minmax_element(prompt.tokens.begin(), prompt.tokens.end());
    EXPECT_GE(*least, 1);
    EXPECT_LE(*most, 26);
    EXPECT_EQ(prompt.spans.at("unit"), (Span{0, 13}));
    EXPECT_EQ(prompt.targets.size(), 12U);
  }
  PromptContext bare = ids_only(400);
  EXPECT_EQ(set.failure(bare, ErrorKind::usage),
            "prompts 'p': the model has no tokenizer, so letters cannot be made; use "
            "repeated_random or a file of token ids");
}

TEST(MultiTokenCopy, APromptDependsOnSeedIdAndItsNumberOnly) {
  expect_prefix_property(entry({}, "10").make(ids_only(100)), entry({}, "100").make(ids_only(100)),
                         entry({}, "10").make(ids_only(100, 43)));
}

TEST(MultiTokenCopy, StatesItsParameters) {
  EXPECT_EQ(entry({}).source().parameters({}).dump(),
            R"({"count":200,"noise":4,"pool":"vocabulary","prefix":"bos","unit":3,"units":1})");
  EXPECT_EQ(entry({{"pool", "letters"}}).source().parameters({})["letter_form"], " A");
  EXPECT_THAT(PromptEntry("multi_token_copy", {{"count", "1"}, {"unit", "1"}, {"letter_form", "A"}})
                  .problems(),
              ElementsAre("prompts[0].unit: must be a whole number from 2 to 10000000, not '1'",
                          "prompts[0]: the key 'noise' is missing",
                          "prompts[0].letter_form: goes with pool: letters only; leave it out",
                          "prompts[0]: the key 'prefix' is missing"));
}

TEST(MultiTokenCopy, RefusesWhatDoesNotFitTheModel) {
  // 4 + 3 + 4 tokens, and 3 for the corrupt unit.
  EXPECT_EQ(entry({}).failure(ids_only(14), ErrorKind::usage),
            "prompts 'p': a prompt needs 14 distinct tokens, but there are 13 to draw from; make "
            "unit, units or noise smaller, or choose another pool");
  EXPECT_EQ(entry({}).make(ids_only(15)).size(), 200U);
  PromptContext small = ids_only(100);
  small.max_positions = 13;
  EXPECT_EQ(entry({}).failure(small, ErrorKind::usage),
            "prompts 'p': each prompt would have 14 tokens, prefix included, but the model takes "
            "at most 13; make it shorter");
}

}  // namespace
}  // namespace mechsweep
