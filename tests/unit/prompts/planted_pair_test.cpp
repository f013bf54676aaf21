#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/prompts/prompt_checks.h"

namespace mechsweep {
namespace {

using test_prompts::chi_square;
using test_prompts::expect_prefix_property;
using test_prompts::expect_round_trip;
using testing::ElementsAre;

PromptContext ids_only(int vocab_size, uint64_t seed = 42) {
  return {nullptr, vocab_size, 1000, 0, seed, ""};
}

PromptEntry entry(const std::string& count, const std::string& length,
                  const std::string& prefix = "bos") {
  return {"planted_pair", {{"count", count}, {"length", length}, {"prefix", prefix}}};
}

/// Places of the two tokens that stand twice, found by their ids: a1, b1, a2, b2.
std::vector<int32_t> repeated_places(const Prompt& prompt) {
  std::map<int32_t, std::vector<int32_t>> places;
  for (size_t at = prompt.prefix_length; at < prompt.tokens.size(); ++at)
    places[prompt.tokens[at]].push_back(static_cast<int32_t>(at));
  std::vector<int32_t> repeated;
  for (const auto& [token, at] : places) {
    EXPECT_LE(at.size(), 2U) << token;
    if (at.size() == 2) repeated.insert(repeated.end(), at.begin(), at.end());
  }
  std::sort(repeated.begin(), repeated.end());
  return repeated;
}

TEST(PlantedPair, OnePairStandsTwiceAndNothingElseDoes) {
  for (const Prompt& prompt : entry("200", "12").make(ids_only(50))) {
    ASSERT_EQ(prompt.tokens.size(), 13U);
    EXPECT_EQ(prompt.tokens[0], 0);
    EXPECT_EQ(prompt.prefix_length, 1);
    EXPECT_EQ(std::count(prompt.tokens.begin(), prompt.tokens.end(), 0), 1);
    const auto places = repeated_places(prompt);
    ASSERT_EQ(places.size(), 4U);
    const int32_t a1 = places[0], b1 = places[1], a2 = places[2], b2 = places[3];
    EXPECT_EQ(prompt.tokens[a1], prompt.tokens[a2]);
    EXPECT_EQ(b1, a1 + 1);
    EXPECT_EQ(b2, a2 + 1);
    EXPECT_GE(a1, 2) << "a random token stands before the first pair";
    EXPECT_GE(a2, b1 + 2) << "and one between the pairs";
    EXPECT_EQ(prompt.targets, (std::vector<Target>{{a2, prompt.tokens[b1], {}}}));
    EXPECT_EQ(prompt.spans, (std::map<std::string, Span>{{"a_first", {a1, a1 + 1}},
                                                         {"b_first", {b1, b1 + 1}},
                                                         {"a_second", {a2, a2 + 1}},
                                                         {"b_second", {b2, b2 + 1}}}));
    EXPECT_EQ(prompt.pairs, (std::map<std::string, PositionPairs>{{"duplicate", {{b2, b1}}},
                                                                  {"induction", {{a2, b1}}},
                                                                  {"duplicate_a", {{a2, a1}}}}));
    EXPECT_NO_THROW(check_prompt(prompt, 50, 13));
    expect_round_trip(prompt);
  }
}

// Six places are left to the pairs in 8 tokens, counted by hand; the critical value of chi-square
// for 5 degrees of freedom at p = 0.001 is 20.515 (NIST/SEMATECH e-Handbook).
TEST(PlantedPair, AllPlacesAreEquallyLikely) {
  std::map<std::pair<int32_t, int32_t>, int> counts;
  for (const Prompt& prompt : entry("6000", "8", "none").make(ids_only(50))) {
    const auto places = repeated_places(prompt);
    ++counts[{places[0], places[2]}];
  }
  for (const auto& place : {std::pair(1, 4), {1, 5}, {1, 6}, {2, 5}, {2, 6}, {3, 6}})
    EXPECT_EQ(counts.count(place), 1U) << place.first << " " << place.second;
  EXPECT_LT(chi_square(counts, 6), 20.515);
}

// 100 ordinary ids; 148.230 is the critical value for 99 degrees of freedom at p = 0.001 (the same
// table).
TEST(PlantedPair, TokensAreEquallyLikely) {
  std::map<int32_t, int> of_pair, of_all;
  for (const Prompt& prompt : entry("5000", "8", "none").make(ids_only(101))) {
    ++of_pair[prompt.targets[0].answer];
    ++of_all[prompt.tokens[0]];
  }
  EXPECT_LT(chi_square(of_pair, 100), 148.230);
  EXPECT_LT(chi_square(of_all, 100), 148.230);
}

TEST(PlantedPair, TheShortestHasOnePlaceOnly) {
  for (const Prompt& prompt : entry("20", "6", "none").make(ids_only(9)))
    EXPECT_THAT(repeated_places(prompt), ElementsAre(1, 2, 4, 5));
}

TEST(PlantedPair, APromptDependsOnSeedIdAndItsNumberOnly) {
  expect_prefix_property(entry("10", "16").make(ids_only(100)),
                         entry("100", "16").make(ids_only(100)),
                         entry("10", "16").make(ids_only(100, 43)));
}

TEST(PlantedPair, StatesItsParameters) {
  EXPECT_EQ(PromptEntry("planted_pair", {{"count", "100"}, {"prefix", "bos"}})
                .source()
                .parameters({})
                .dump(),
            R"({"count":100,"length":64,"prefix":"bos"})");
  EXPECT_THAT(PromptEntry("planted_pair", {{"count", "1"}, {"length", "5"}}).problems(),
              ElementsAre("prompts[0].length: must be a whole number from 6 to 10000000, not '5'",
                          "prompts[0]: the key 'prefix' is missing"));
}

TEST(PlantedPair, RefusesWhatDoesNotFitTheModel) {
  EXPECT_EQ(entry("1", "52").failure(ids_only(50), ErrorKind::usage),
            "prompts 'p': a prompt needs 50 distinct tokens, but there are 49 to draw from; make "
            "length smaller");
  EXPECT_EQ(entry("1", "51").make(ids_only(50)).size(), 1U);
  EXPECT_EQ(entry("1", "1000").failure(ids_only(5000), ErrorKind::usage),
            "prompts 'p': each prompt would have 1001 tokens, prefix included, but the model takes "
            "at most 1000; make it shorter");
}

}  // namespace
}  // namespace mechsweep
