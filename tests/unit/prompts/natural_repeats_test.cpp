#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prompts/passages.h"
#include "tests/unit/plan/sweep_files.h"
#include "tests/unit/prompts/fake_tokenizer.h"
#include "tests/unit/prompts/prompt_checks.h"

namespace mechsweep {
namespace {

using test_plan::Folder;
using test_prompts::chi_square;
using test_prompts::expect_round_trip;
using testing::ElementsAre;

const FakeTokenizer kTokenizer;

// Sentences of 2, 5, 3, 2 and 4 tokens: a letter with its space is one, a stop is one.
constexpr const char* kTexts =
    "# first: of the tests\n"
    "A. B\n  C D\tE? F \"G!\n"
    "#\n# a comment without a name\n"
    "# second : also\n"
    "A. A B C.\n";

class NaturalRepeats : public testing::Test {
 protected:
  NaturalRepeats() {
    folder_.write("texts.txt", kTexts);
    context_.config_folder = folder_.file("");
  }
  [[nodiscard]] static PromptEntry entry(const std::string& count, const std::string& tokens,
                                         const std::string& repeats = "2") {
    return {"natural_repeats",
            {{"count", count},
             {"tokens", tokens},
             {"repeats", repeats},
             {"path", "texts.txt"},
             {"prefix", "bos"}}};
  }
  Folder folder_;
  PromptContext context_{&kTokenizer, 400, 1000, 0, 42, ""};
};

TEST_F(NaturalRepeats, TextsAreCutAtHeadingsAndSentences) {
  const auto texts = read_natural_texts(folder_.file("texts.txt"));
  ASSERT_EQ(texts.size(), 2U);
  EXPECT_EQ(texts[0].name, "first");
  EXPECT_EQ(texts[0].text, "A. B C D E? F \"G!");
  EXPECT_THAT(texts[0].starts, ElementsAre(0, 3, 12));
  EXPECT_EQ(texts[1].name, "second");
  EXPECT_EQ(texts[1].text, "A. A B C.");
  EXPECT_THAT(texts[1].starts, ElementsAre(0, 3));
  const auto bare =
      read_natural_texts(folder_.write("bare.txt", "He said \"A.\" (B!) C.D 3.5 E.\n"));
  ASSERT_EQ(bare.size(), 1U);
  EXPECT_EQ(bare[0].name, "text");
  EXPECT_THAT(bare[0].starts, ElementsAre(0, 13, 18)) << "a stop inside a word ends nothing";
}

// Of the five sentences all but "F "G!" and " A B C." have six tokens up to the end of their text.
TEST_F(NaturalRepeats, APassageStandsThereSeveralTimes) {
  std::set<std::pair<std::string, std::string>> seen;
  const auto prompts = entry("3", "6", "3").make(context_);
  ASSERT_EQ(prompts.size(), 3U);
  for (const Prompt& prompt : prompts) {
    ASSERT_EQ(prompt.tokens.size(), 19U);
    EXPECT_EQ(prompt.tokens[0], 0);
    for (size_t at = 7; at < 19; ++at) EXPECT_EQ(prompt.tokens[at], prompt.tokens[at - 6]);
    EXPECT_EQ(kTokenizer.encode(prompt.text).ids,
              (std::vector<int32_t>(prompt.tokens.begin() + 1, prompt.tokens.end())));
    EXPECT_EQ(prompt.spans,
              (std::map<std::string, Span>{
                  {"period_1", {1, 7}}, {"period_2", {7, 13}}, {"period_3", {13, 19}}}));
    EXPECT_TRUE(
        seen.emplace(prompt.template_label, prompt.text.substr(0, prompt.text.size() / 3)).second);
    EXPECT_NO_THROW(check_prompt(prompt, 400, 19));
    expect_round_trip(prompt);
  }
  EXPECT_EQ(seen,
            (std::set<std::pair<std::string, std::string>>{
                {"first", " A. B C D E"}, {"first", " B C D E? F"}, {"second", " A. A B C."}}));
}

// "A. A B C." has A twice: pairs mean the place one passage earlier all the same.
TEST_F(NaturalRepeats, TargetsAndPairsGoByThePlaceNotTheToken) {
  const auto prompts = entry("3", "6").make(context_);
  for (const Prompt& prompt : prompts) {
    ASSERT_EQ(prompt.targets.size(), 5U);
    std::map<std::string, PositionPairs> expected;
    for (int32_t i = 0; i < 5; ++i) {
      const int32_t query = 7 + i;
      EXPECT_EQ(prompt.targets[i], (Target{query, prompt.tokens[query + 1], {}}));
      expected["previous"].emplace_back(query, query - 1);
      expected["duplicate"].emplace_back(query, 1 + i);
      expected["induction"].emplace_back(query, 2 + i);
      expected["source"].emplace_back(query, 2 + i);
      if (i > 0) expected["anti_induction"].emplace_back(query, i);
    }
    EXPECT_EQ(prompt.pairs, expected);
  }
  EXPECT_TRUE(std::any_of(prompts.begin(), prompts.end(), [](const Prompt& prompt) {
    return prompt.tokens[1] == prompt.tokens[3];  // " A", ".", " A"
  }));
}

TEST_F(NaturalRepeats, TheSameStartsServeAllModels) {
  /// Joins pairs of letters, so that texts have fewer tokens.
  class Joining final : public FakeTokenizer {
   public:
    [[nodiscard]] Encoding encode(std::string_view text) const override {
      Encoding all = FakeTokenizer::encode(text), half;
      for (size_t i = 0; i < all.ids.size(); i += 2) {
        half.ids.push_back(all.ids[i]);
        half.bytes.push_back(
            {all.bytes[i].begin, all.bytes[std::min(i + 1, all.ids.size() - 1)].end});
      }
      return half;
    }
  };
  const Joining joining;
  context_.compared = {{"one", &kTokenizer}, {"two", &joining}};
  // Only the first two sentences have 4 tokens for the other model, which are 8 of these.
  std::set<std::string> texts;
  for (const Prompt& prompt : entry("2", "4").make(context_)) texts.insert(prompt.text);
  EXPECT_EQ(texts, (std::set<std::string>{" A. B C A. B C", " B C D E B C D E"}));
  EXPECT_EQ(entry("3", "4").failure(context_, ErrorKind::usage),
            "prompts 'p': " + folder_.file("texts.txt") +
                " has 5 sentences, of which 2 begin a passage of 4 tokens, but 3 are needed; make "
                "count or tokens smaller, or give more text");
}

// 40 sentences that begin with one of 20 letters; 43.820 is the critical value of chi-square for 19
// degrees of freedom at p = 0.001 (NIST/SEMATECH e-Handbook).
TEST_F(NaturalRepeats, EverySentenceIsEquallyLikely) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += fmt::format("{} X Y Z.\n", static_cast<char>('A' + i % 20));
  folder_.write("texts.txt", text);
  std::map<int32_t, int> counts;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    context_.seed = seed;
    ++counts[entry("1", "4").make(context_)[0].tokens[1]];
  }
  EXPECT_LT(chi_square(counts, 20), 43.820);
}

TEST_F(NaturalRepeats, APromptDependsOnSeedIdAndItsNumberOnly) {
  const auto few = entry("2", "4").make(context_);
  const auto many = entry("4", "4").make(context_);
  for (size_t i = 0; i < few.size(); ++i)
    EXPECT_EQ(prompt_to_json(few[i]).dump(), prompt_to_json(many[i]).dump());
}

// The hash is that of the file's bytes by sha256sum.
TEST_F(NaturalRepeats, StatesItsParameters) {
  EXPECT_EQ(entry("2", "4").source().parameters(context_),
            (Json{{"count", 2},
                  {"tokens", 4},
                  {"repeats", 2},
                  {"prefix", "bos"},
                  {"sha256", "71f637ece8a2227c74ed29d49d5203a07e3757b87f52c3608615f759bf60f9d4"}}));
}

TEST_F(NaturalRepeats, RefusesWhatDoesNotFit) {
  EXPECT_THAT(PromptEntry("natural_repeats", {{"count", "1"}, {"tokens", "1"}}).problems(),
              ElementsAre("prompts[0].tokens: must be a whole number from 2 to 10000000, not '1'",
                          "prompts[0]: the key 'repeats' is missing",
                          "prompts[0]: the key 'path' is missing",
                          "prompts[0]: the key 'prefix' is missing"));
  context_.max_positions = 12;
  EXPECT_EQ(entry("1", "6").failure(context_, ErrorKind::usage),
            "prompts 'p': each prompt would have 13 tokens, prefix included, but the model takes "
            "at most 12; make it shorter");
  context_.tokenizer = nullptr;
  EXPECT_EQ(entry("1", "2").failure(context_, ErrorKind::usage),
            "prompts 'p': this model has no tokenizer, so text cannot be used for it; use "
            "repeated_random or a file of token ids");
  context_.tokenizer = &kTokenizer;
  folder_.write("texts.txt", "# only: a heading\n");
  EXPECT_EQ(entry("1", "2").failure(context_, ErrorKind::input),
            folder_.file("texts.txt") + ": has no text");
  folder_.write("texts.txt", "A\xFF");
  EXPECT_EQ(entry("1", "2").failure(context_, ErrorKind::input),
            folder_.file("texts.txt") + ": is not UTF-8 at byte 1; save it as UTF-8");
}

// FakeTokenizer has a token for every byte above 127, so that a passage can end inside a character.
TEST_F(NaturalRepeats, ATextThatEndsInsideACharacterIsCutBeforeIt) {
  folder_.write("texts.txt",
                "A\xE2\x80\x94"
                "B");
  const Prompt prompt = entry("1", "3").make(context_)[0];
  EXPECT_EQ(prompt.tokens.size(), 7U);
  EXPECT_EQ(prompt.text, " A A");
}

}  // namespace
}  // namespace mechsweep
