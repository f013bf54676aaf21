#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/prompts/fake_tokenizer.h"
#include "tests/unit/prompts/prompt_set_support.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;

const FakeTokenizer kTokenizer;
const PromptContext kContext{&kTokenizer, 400, 1000, 0, 42, ""};

PromptEntry entry(std::vector<std::pair<std::string, std::string>> more,
                  const std::string& count = "64", const std::string& noise = "32") {
  more.insert(more.begin(), {{"count", count}, {"noise", noise}});
  return {"ab_noise_a", more, "abna"};
}

// With " A" as form the letters are ids 1..26.
TEST(AbNoiseA, AsksForTheLetterAfterTheFirstA) {
  const auto prompts = entry({{"prefix", "bos"}}).make(kContext);
  ASSERT_EQ(prompts.size(), 64U);
  for (const Prompt& prompt : prompts) {
    ASSERT_EQ(prompt.tokens.size(), 36U);  // prefix, A, B, 32 of noise, A
    EXPECT_EQ(prompt.prefix_length, 1);
    EXPECT_EQ(prompt.tokens[0], 0);
    const int32_t a = prompt.tokens[1], b = prompt.tokens[2];
    EXPECT_NE(a, b);
    EXPECT_EQ(prompt.tokens[35], a);
    for (size_t t = 1; t < 36; ++t) {
      EXPECT_GE(prompt.tokens[t], 1);
      EXPECT_LE(prompt.tokens[t], 26);
    }
    for (size_t t = 3; t < 35; ++t) {
      EXPECT_NE(prompt.tokens[t], a);
      EXPECT_NE(prompt.tokens[t], b);
    }
    ASSERT_EQ(prompt.targets.size(), 1U);
    EXPECT_EQ(prompt.targets[0].at, 35);
    EXPECT_EQ(prompt.targets[0].answer, b);
    std::set<int32_t> wrong(prompt.targets[0].wrong.begin(), prompt.targets[0].wrong.end());
    EXPECT_EQ(prompt.targets[0].wrong.size(), 25U);
    wrong.insert(b);
    EXPECT_EQ(wrong.size(), 26U) << "the wrong answers are every letter but B";
    EXPECT_EQ(prompt.spans,
              (std::map<std::string, Span>{
                  {"a_first", {1, 2}}, {"b", {2, 3}}, {"noise", {3, 35}}, {"a_second", {35, 36}}}));
    EXPECT_EQ(prompt.pairs, (std::map<std::string, PositionPairs>{{"duplicate", {{35, 1}}},
                                                                  {"source", {{35, 2}}}}));
    EXPECT_TRUE(prompt.template_label.empty());
    EXPECT_NO_THROW(check_prompt(prompt, 400, 36));
  }
}

TEST(AbNoiseA, TheCorruptPartnerDiffersInBOnly) {
  for (const Prompt& prompt : entry({{"prefix", "none"}}).make(kContext)) {
    ASSERT_EQ(prompt.corrupt_tokens.size(), prompt.tokens.size());
    const int32_t c = prompt.corrupt_tokens[1];
    EXPECT_NE(c, prompt.tokens[0]);
    EXPECT_NE(c, prompt.tokens[1]);
    EXPECT_GE(c, 1);
    EXPECT_LE(c, 26);
    for (size_t t = 0; t < prompt.tokens.size(); ++t)
      EXPECT_TRUE(t == 1 || prompt.corrupt_tokens[t] == prompt.tokens[t]) << t;
    EXPECT_TRUE(prompt.corrupt_targets.empty()) << "the clean answer scores both runs";
  }
}

TEST(AbNoiseA, VocabularyNoiseHasOneWrongLetter) {
  std::set<int32_t> noise;
  for (const Prompt& prompt :
       entry({{"prefix", "bos"}, {"noise_pool", "vocabulary"}}, "200").make(kContext)) {
    for (size_t t = 3; t < 35; ++t) {
      noise.insert(prompt.tokens[t]);
      EXPECT_NE(prompt.tokens[t], prompt.tokens[1]);
      EXPECT_NE(prompt.tokens[t], prompt.tokens[2]);
    }
    EXPECT_THAT(prompt.targets[0].wrong, ElementsAre(prompt.corrupt_tokens[2]));
    EXPECT_NE(prompt.targets[0].wrong[0], prompt.tokens[1]);
    EXPECT_NE(prompt.targets[0].wrong[0], prompt.tokens[2]);
  }
  EXPECT_EQ(noise.size(), 398U) << "6400 draws meet every id but the two special ones";
  EXPECT_EQ(*noise.begin(), 1);
  EXPECT_EQ(*noise.rbegin(), 398);
}

TEST(AbNoiseA, TheLetterFormChoosesTheTokens) {
  for (const Prompt& prompt :
       entry({{"prefix", "none"}, {"letter_form", "'A"}}, "5").make(kContext))
    for (const int32_t token : prompt.tokens) {
      EXPECT_GE(token, 27);
      EXPECT_LE(token, 52);
    }
}

TEST(AbNoiseA, WithoutNoiseThereIsNoNoiseSpan) {
  const auto prompts = entry({{"prefix", "none"}}, "1", "0").make(kContext);
  EXPECT_EQ(prompts[0].tokens.size(), 3U);
  EXPECT_EQ(prompts[0].spans.count("noise"), 0U);
  EXPECT_NO_THROW(check_prompt(prompts[0], 400, 3));
}

TEST(AbNoiseA, APromptDependsOnSeedIdAndItsNumberOnly) {
  const auto few = entry({{"prefix", "bos"}}, "10").make(kContext);
  const auto many = entry({{"prefix", "bos"}}, "100").make(kContext);
  std::set<std::vector<int32_t>> distinct;
  for (size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(few[i].tokens, many[i].tokens);
    EXPECT_EQ(few[i].corrupt_tokens, many[i].corrupt_tokens);
    EXPECT_EQ(few[i].targets, many[i].targets);
  }
  for (const Prompt& prompt : many) distinct.insert(prompt.tokens);
  EXPECT_EQ(distinct.size(), 100U);
  PromptContext other = kContext;
  other.seed = 43;
  EXPECT_NE(entry({{"prefix", "bos"}}, "10").make(other)[0].tokens, few[0].tokens);
}

double chi_square(const std::map<int32_t, int>& counts, double expected) {
  double sum = 0;
  for (const auto& [value, count] : counts)
    sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// Critical values at p = 0.001 (NIST/SEMATECH e-Handbook): 52.620 for 25 degrees of freedom,
// 51.179 for 24 and 49.728 for 23. Letters are counted relative to those they must differ from.
TEST(AbNoiseA, EveryLetterIsDrawnEquallyOften) {
  std::map<int32_t, int> a, b, c, noise;
  const auto rank_without = [](int32_t value, std::set<int32_t> taken) {
    int32_t rank = value;
    for (const int32_t other : taken) rank -= other < value ? 1 : 0;
    return rank;
  };
  for (const Prompt& prompt : entry({{"prefix", "none"}}, "6500", "4").make(kContext)) {
    const int32_t first = prompt.tokens[0], second = prompt.tokens[1];
    ++a[first];
    ++b[rank_without(second, {first})];
    ++c[rank_without(prompt.corrupt_tokens[1], {first, second})];
    for (size_t t = 2; t < 6; ++t) ++noise[rank_without(prompt.tokens[t], {first, second})];
  }
  ASSERT_EQ(a.size(), 26U);
  ASSERT_EQ(b.size(), 25U);
  ASSERT_EQ(c.size(), 24U);
  ASSERT_EQ(noise.size(), 24U);
  EXPECT_LT(chi_square(a, 6500 / 26.0), 52.620);
  EXPECT_LT(chi_square(b, 6500 / 25.0), 51.179);
  EXPECT_LT(chi_square(c, 6500 / 24.0), 49.728);
  EXPECT_LT(chi_square(noise, 4 * 6500 / 24.0), 49.728);
}

TEST(AbNoiseA, FillsInDocumentedDefaults) {
  EXPECT_EQ(entry({{"prefix", "0"}}).source().parameters({}).dump(),
            R"({"count":64,"letter_form":" A","noise":32,"noise_pool":"letters","prefix":0})");
}

TEST(AbNoiseA, RefusesBadParameters) {
  EXPECT_THAT(entry({{"noise_pool", "leters"}, {"letter_form", "'a"}, {"nois", "3"}}).problems(),
              ElementsAre("prompts[0].noise_pool: unknown value 'leters'; did you mean 'letters'? "
                          "(known: letters, vocabulary)",
                          "prompts[0].letter_form: unknown value 'a'; did you mean "
                          "'A'? (known: A, ' A')",
                          "prompts[0]: the key 'prefix' is missing",
                          "prompts[0].nois: unknown key; did you mean 'noise'? (known: id, kind, "
                          "count, noise, noise_pool, letter_form, prefix)"));
}

/// Splits Q into two tokens, or writes R like S.
class OddTokenizer final : public FakeTokenizer {
 public:
  explicit OddTokenizer(bool same) : same_(same) {}
  [[nodiscard]] Encoding encode(std::string_view text) const override {
    if (!same_ && text.back() == 'Q') return {{1, 2}, {{0, 1}, {1, 2}}};
    if (same_ && text.back() == 'S') return FakeTokenizer::encode(" R");
    return FakeTokenizer::encode(text);
  }

 private:
  bool same_;
};

TEST(AbNoiseA, RefusesModelsWhoseLettersAreNotTokens) {
  const PromptEntry set = entry({{"prefix", "none"}});
  const OddTokenizer split(false), same(true);
  PromptContext context = kContext;
  context.tokenizer = &split;
  EXPECT_EQ(set.failure(context, ErrorKind::usage),
            "prompts 'abna': the letter ' Q' is 2 tokens for this model, not one; try another "
            "letter_form");
  context.tokenizer = &same;
  EXPECT_EQ(set.failure(context, ErrorKind::usage),
            "prompts 'abna': the letters R and S written as ' A' are the same token 18 for this "
            "model; try another letter_form");
  context.tokenizer = nullptr;
  EXPECT_EQ(set.failure(context, ErrorKind::usage),
            "prompts 'abna': the model has no tokenizer, so letters cannot be made; use "
            "repeated_random or a file of token ids");
  context = kContext;
  context.max_positions = 34;
  EXPECT_EQ(set.failure(context, ErrorKind::usage),
            "prompts 'abna': each prompt would have 35 tokens, prefix included, but the model "
            "takes at most 34; make it shorter");
}

}  // namespace
}  // namespace mechsweep
