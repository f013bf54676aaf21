#include <map>
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/prompts/fake_tokenizer.h"
#include "tests/unit/prompts/prompt_checks.h"

namespace mechsweep {
namespace {

using test_prompts::chi_square;
using test_prompts::expect_prefix_property;
using test_prompts::expect_round_trip;
using test_prompts::places_of;
using test_prompts::searched_pairs;
using testing::ElementsAre;

const FakeTokenizer kTokenizer;
const PromptContext kContext{&kTokenizer, 400, 1000, 0, 42, ""};
constexpr int32_t kColon = 100 + ':';
constexpr int32_t kSemicolon = 100 + ';';

/// `length: 4`, BOS, and a separator for each place that needs one.
PromptEntry entry(const std::string& kind, const std::string& examples,
                  std::vector<std::pair<std::string, std::string>> more = {},
                  const std::string& count = "50") {
  more.insert(more.begin(), {{"count", count},
                             {"length", "4"},
                             {"examples", examples},
                             {"separator", ":"},
                             {"prefix", "bos"}});
  if (examples != "0") more.insert(more.begin(), {"example_separator", ";"});
  return {kind, more};
}

class UniqueCopy : public testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] static bool is_forward() { return std::string(GetParam()) == "unique_copy"; }
  /// The second part that belongs to a first one.
  [[nodiscard]] static std::vector<int32_t> copy_of(std::vector<int32_t> first) {
    if (!is_forward()) std::reverse(first.begin(), first.end());
    return first;
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, UniqueCopy, testing::Values("unique_copy", "reversed_unique_copy"),
                         [](const auto& kind) { return std::string(kind.param); });

// Single shot: BOS, four tokens at 1..4, the separator at 5, their copy at 6..9.
TEST_P(UniqueCopy, WithoutExamplesOnePartStandsAlone) {
  for (const Prompt& prompt : entry(GetParam(), "0").make(kContext)) {
    ASSERT_EQ(prompt.tokens.size(), 10U);
    EXPECT_EQ(prompt.tokens[0], 0);
    EXPECT_EQ(prompt.tokens[5], kColon);
    const std::vector<int32_t> first(prompt.tokens.begin() + 1, prompt.tokens.begin() + 5);
    const std::vector<int32_t> second(prompt.tokens.begin() + 6, prompt.tokens.end());
    EXPECT_EQ(second, copy_of(first));
    EXPECT_EQ(std::set<int32_t>(prompt.tokens.begin(), prompt.tokens.begin() + 6).size(), 6U);
    EXPECT_EQ(prompt.targets,
              (std::vector<Target>{
                  {5, second[0], {}}, {6, second[1], {}}, {7, second[2], {}}, {8, second[3], {}}}));
    EXPECT_EQ(prompt.spans, (std::map<std::string, Span>{
                                {"first", {1, 5}}, {"separator", {5, 6}}, {"second", {6, 10}}}));
    EXPECT_NO_THROW(check_prompt(prompt, 400, 10));
    expect_round_trip(prompt);
  }
}

TEST_P(UniqueCopy, PairsAreThoseThatASearchForIdsFinds) {
  for (const char* examples : {"0", "2"})
    for (const Prompt& prompt : entry(GetParam(), examples).make(kContext)) {
      const Span first = prompt.spans.at("first"), second = prompt.spans.at("second");
      std::vector<int32_t> queries(3);  // nothing is copied after the last token
      std::iota(queries.begin(), queries.end(), second.begin);
      EXPECT_EQ(prompt.pairs, searched_pairs(prompt, queries, first, is_forward() ? 1 : -1));
      const char* answers = is_forward() ? "induction" : "anti_induction";
      EXPECT_EQ(prompt.pairs.at("source"), prompt.pairs.at(answers));
      ASSERT_EQ(prompt.pairs.at("source").size(), 3U);
      for (const auto& [query, key] : prompt.pairs.at("source"))
        EXPECT_EQ(prompt.tokens[key], prompt.tokens[query + 1]) << "the key holds the answer";
      const char* others = is_forward() ? "anti_induction" : "induction";
      EXPECT_EQ(prompt.pairs.at(others).size(), 2U);
    }
}

// Two examples of 9 tokens with a semicolon after each, then the part that counts at 21.
TEST_P(UniqueCopy, ExamplesAreWholePartsWithTokensOfTheirOwn) {
  for (const Prompt& prompt : entry(GetParam(), "2").make(kContext)) {
    ASSERT_EQ(prompt.tokens.size(), 1U + 3 * 9 + 2);
    std::set<int32_t> content;
    for (const int32_t begin : {1, 11, 21}) {
      const auto at = prompt.tokens.begin() + begin;
      const std::vector<int32_t> first(at, at + 4);
      content.insert(first.begin(), first.end());
      EXPECT_EQ(at[4], kColon);
      EXPECT_EQ(std::vector<int32_t>(at + 5, at + 9), copy_of(first));
      if (begin < 21) {
        EXPECT_EQ(at[9], kSemicolon);
      }
    }
    EXPECT_EQ(content.size(), 12U) << "no token occurs in two parts";
    for (const int32_t other : {0, kColon, kSemicolon}) EXPECT_EQ(content.count(other), 0U);
    EXPECT_EQ(places_of(prompt.tokens, kColon, 0, 30).size(), 3U);
    EXPECT_EQ(prompt.spans.at("examples"), (Span{1, 21}));
    EXPECT_EQ(prompt.spans.at("separator"), (Span{25, 26}));
    ASSERT_EQ(prompt.targets.size(), 4U) << "of the part that counts";
    for (int32_t i = 0; i < 4; ++i)
      EXPECT_EQ(prompt.targets[i], (Target{25 + i, prompt.tokens[26 + i], {}}));
    EXPECT_NO_THROW(check_prompt(prompt, 400, 30));
  }
}

// Ids 1..399 without BOS, the special 399 and the separator are 397; 26 letters otherwise. The
// critical value for 25 degrees of freedom at p = 0.001 is 52.620; for 396 the mean plus four
// standard deviations (sqrt(2 * 396) = 28.1) serves, p < 0.0001 by the normal approximation.
TEST_P(UniqueCopy, TokensAreEquallyLikely) {
  std::map<int32_t, int> vocabulary, letters;
  for (const Prompt& prompt : entry(GetParam(), "0", {}, "8000").make(kContext))
    ++vocabulary[prompt.tokens[3]];
  EXPECT_LT(chi_square(vocabulary, 397), 396 + 4 * 28.1);
  for (const Prompt& prompt : entry(GetParam(), "1", {{"pool", "letters"}}, "5200").make(kContext))
    ++letters[prompt.targets[2].answer];
  EXPECT_LT(chi_square(letters, 26), 52.620);
  EXPECT_EQ(letters.begin()->first, 1);
  EXPECT_EQ(letters.rbegin()->first, 26);
}

TEST_P(UniqueCopy, APromptDependsOnSeedIdAndItsNumberOnly) {
  PromptContext other = kContext;
  other.seed = 43;
  expect_prefix_property(entry(GetParam(), "1", {}, "10").make(kContext),
                         entry(GetParam(), "1", {}, "100").make(kContext),
                         entry(GetParam(), "1", {}, "10").make(other));
}

TEST(UniqueCopyKinds, BothCopyTheSameTokens) {
  const auto forward = entry("unique_copy", "0").make(kContext);
  const auto backward = entry("reversed_unique_copy", "0").make(kContext);
  for (size_t i = 0; i < forward.size(); ++i)
    EXPECT_TRUE(std::equal(forward[i].tokens.begin(), forward[i].tokens.begin() + 6,
                           backward[i].tokens.begin()));
}

TEST(UniqueCopyKinds, SeparatorsAreTextsOrIds) {
  PromptEntry ids("unique_copy", {{"count", "1"},
                                  {"length", "2"},
                                  {"examples", "1"},
                                  {"separator", "7"},
                                  {"example_separator", "'7"},
                                  {"prefix", "none"}});
  const Prompt prompt = ids.make(kContext)[0];
  EXPECT_EQ(prompt.tokens[2], 7);
  EXPECT_EQ(prompt.tokens[5], 100 + '7') << "a quoted number is text";
  EXPECT_EQ(ids.source().parameters({}).dump(),
            R"({"count":1,"example_separator":"7","examples":1,"length":2,"pool":"vocabulary",)"
            R"("prefix":"none","separator":7})");
  EXPECT_EQ(entry("unique_copy", "0", {{"pool", "letters"}, {"letter_form", "A"}})
                .source()
                .parameters({})
                .dump(),
            R"({"count":50,"examples":0,"length":4,"letter_form":"A","pool":"letters",)"
            R"("prefix":"bos","separator":":"})");
}

TEST(UniqueCopyKinds, RefuseBadParameters) {
  EXPECT_THAT(PromptEntry("unique_copy", {{"count", "1"}, {"length", "1"}}).problems(),
              ElementsAre("prompts[0].length: must be a whole number from 2 to 10000000, not '1'",
                          "prompts[0]: the key 'examples' is missing",
                          "prompts[0]: the key 'separator' is missing",
                          "prompts[0]: the key 'prefix' is missing"));
  EXPECT_THAT(entry("unique_copy", "0", {{"example_separator", ";"}}).problems(),
              ElementsAre("prompts[0].example_separator: stands after examples only; leave it out, "
                          "or set examples"));
  for (const char* separator : {"-1", "1.5", "'"})
    EXPECT_THAT(PromptEntry("unique_copy", {{"count", "1"},
                                            {"length", "2"},
                                            {"examples", "0"},
                                            {"separator", separator},
                                            {"prefix", "none"}})
                    .problems(),
                ElementsAre("prompts[0].separator: must be a text or a token id of at least 0"))
        << separator;
}

std::string failure_with(const std::string& separator, const PromptContext& context) {
  return PromptEntry("unique_copy", {{"count", "1"},
                                     {"length", "2"},
                                     {"examples", "1"},
                                     {"separator", separator},
                                     {"example_separator", "9"},
                                     {"prefix", "none"}})
      .failure(context, ErrorKind::usage);
}

TEST(UniqueCopyKinds, RefuseWhatDoesNotFitTheModel) {
  EXPECT_EQ(failure_with("=>", kContext),
            "prompts 'p': separator: '=>' is 2 tokens for this model, not one; give another text, "
            "or a token id");
  EXPECT_EQ(failure_with("400", kContext),
            "prompts 'p': separator: 400 is not a token of this model, whose ids end at 399");
  EXPECT_EQ(failure_with("9", kContext),
            "prompts 'p': separator and example_separator are the same token 9 for this model; "
            "give different ones");
  EXPECT_EQ(failure_with(":", {nullptr, 400, 1000, 0, 1, ""}),
            "prompts 'p': separator: the model has no tokenizer, so a text is no token; give a "
            "token id");
  EXPECT_EQ(entry("unique_copy", "6", {{"pool", "letters"}}).failure(kContext, ErrorKind::usage),
            "prompts 'p': a prompt needs 28 distinct tokens, but there are 26 to draw from; make "
            "length or examples smaller, or choose another pool");
  PromptContext small = kContext;
  small.max_positions = 19;
  EXPECT_EQ(entry("unique_copy", "1").failure(small, ErrorKind::usage),
            "prompts 'p': each prompt would have 20 tokens, prefix included, but the model takes "
            "at most 19; make it shorter");
}

}  // namespace
}  // namespace mechsweep
