#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/prompts/prompt_checks.h"
#include "tests/unit/prompts/word_files.h"

namespace mechsweep {
namespace {

using test_plan::Folder;
using test_prompts::chi_square;
using test_prompts::expect_prefix_property;
using test_prompts::expect_round_trip;
using test_prompts::letters_list;
using test_prompts::NoQTokenizer;
using testing::ElementsAre;

const FakeTokenizer kTokenizer;
const NoQTokenizer kNoQ;

class RepeatedWords : public testing::TestWithParam<const char*> {
 protected:
  RepeatedWords() {
    folder_.write("words.txt", letters_list());
    context_.config_folder = folder_.file("");
  }
  [[nodiscard]] static PromptEntry entry(const std::string& count, const std::string& lags,
                                         const std::string& seq_len = "24") {
    return {GetParam(),
            {{"count", count},
             {"seq_len", seq_len},
             {"lags", lags},
             {"path", "words.txt"},
             {"prefix", "bos"}}};
  }
  [[nodiscard]] PromptContext with_seed(uint64_t seed) const {
    PromptContext other = context_;
    other.seed = seed;
    return other;
  }

  Folder folder_;
  PromptContext context_{&kTokenizer, 400, 1000, 0, 42, ""};
};

INSTANTIATE_TEST_SUITE_P(Kinds, RepeatedWords, testing::Values("abab", "names"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(RepeatedWords, DistinctWordsComeBackAtTheLag) {
  const std::vector<int32_t> lags = {1, 2, 5, 21};
  const auto prompts = entry("40", "[1, 2, 5, 21]").make(context_);
  ASSERT_EQ(prompts.size(), 40U);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Prompt& prompt = prompts[i];
    const int32_t lag = lags[i % 4];
    EXPECT_EQ(prompt.template_label, fmt::format("{}/lag{}", GetParam(), lag));
    ASSERT_EQ(prompt.tokens.size(), 24U) << "prefix included";
    EXPECT_EQ(prompt.tokens[0], 0);
    const std::set<int32_t> words(prompt.tokens.begin() + 1, prompt.tokens.end());
    EXPECT_EQ(words.size(), static_cast<size_t>(lag));
    EXPECT_GE(*words.begin(), 1);
    EXPECT_LE(*words.rbegin(), 26);
    std::vector<Target> targets;
    for (int32_t at = 1; at < 23; ++at)
      if (at - lag >= 1 && prompt.tokens[at] == prompt.tokens[at - lag])
        targets.push_back({at, prompt.tokens[at + 1], {}});
    EXPECT_EQ(prompt.targets, targets);
    EXPECT_EQ(targets.size(), static_cast<size_t>(22 - lag));
    EXPECT_EQ(prompt.spans, (std::map<std::string, Span>{{"first", {1, 1 + lag}},
                                                         {"repetition", {1 + lag, 24}}}));
    EXPECT_NO_THROW(check_prompt(prompt, 400, 24));
    expect_round_trip(prompt);
  }
}

TEST_P(RepeatedWords, TheTextIsThatOfTheTokens) {
  for (const Prompt& prompt : entry("6", "[1, 2, 3]").make(context_)) {
    const std::vector<int32_t> own(prompt.tokens.begin() + 1, prompt.tokens.end());
    EXPECT_EQ(kTokenizer.encode(prompt.text).ids, own) << prompt.text;
  }
}

// 11 prompts over 4 lags: 3, 3, 3 and 2.
TEST_P(RepeatedWords, TheFirstLagsGetWhatDoesNotDivide) {
  std::map<std::string, int> counts;
  for (const Prompt& prompt : entry("11", "[4, 1, 2, 3]").make(context_))
    ++counts[prompt.template_label];
  const std::string pattern = GetParam();
  EXPECT_EQ(counts, (std::map<std::string, int>{{pattern + "/lag4", 3},
                                                {pattern + "/lag1", 3},
                                                {pattern + "/lag2", 3},
                                                {pattern + "/lag3", 2}}));
}

// Every model gets the same words; one that cannot express a word changes only the prompts that
// have it.
TEST_P(RepeatedWords, TheTextIsTheSameForAllModels) {
  const auto alone = entry("100", "[2, 4, 8]").make(context_);
  PromptContext both = context_;
  both.compared = {{"one", &kTokenizer}, {"two", &kNoQ}};
  const auto first = entry("100", "[2, 4, 8]").make(both);
  both.tokenizer = &kNoQ;
  const auto second = entry("100", "[2, 4, 8]").make(both);
  int changed = 0;
  for (size_t i = 0; i < alone.size(); ++i) {
    EXPECT_EQ(first[i].text, second[i].text);
    EXPECT_EQ(first[i].text.find('Q'), std::string::npos);
    const std::set<int32_t> words(second[i].tokens.begin() + 1, second[i].tokens.end());
    EXPECT_EQ(words.size(), std::vector<size_t>({2, 4, 8})[i % 3]) << second[i].text;
    const bool had_q = alone[i].text.find('Q') != std::string::npos;
    EXPECT_EQ(alone[i].text == first[i].text, !had_q);
    changed += had_q ? 1 : 0;
  }
  EXPECT_GT(changed, 0);
}

// Critical values at p = 0.001 for 25 and 24 degrees of freedom: 52.620 and 51.179
// (NIST/SEMATECH e-Handbook). The second word is counted relative to the first.
TEST_P(RepeatedWords, WordsAreEquallyLikely) {
  std::map<int32_t, int> first, second;
  for (const Prompt& prompt : entry("5200", "2").make(context_)) {
    const int32_t a = prompt.tokens[1], b = prompt.tokens[2];
    ++first[a];
    ++second[b > a ? b - 1 : b];
  }
  EXPECT_LT(chi_square(first, 26), 52.620);
  EXPECT_LT(chi_square(second, 25), 51.179);
}

TEST_P(RepeatedWords, APromptDependsOnSeedIdAndItsNumberOnly) {
  expect_prefix_property(entry("10", "[3, 5]").make(context_), entry("60", "[3, 5]").make(context_),
                         entry("10", "[3, 5]").make(with_seed(43)));
}

// The hash is that of `{ echo "# the alphabet"; printf '%s\n' {A..Z}; } | sha256sum`.
TEST_P(RepeatedWords, StatesItsParameters) {
  EXPECT_EQ(entry("6", "[2, 1]").source().parameters(context_),
            (Json{{"count", 6},
                  {"seq_len", 24},
                  {"lags", {2, 1}},
                  {"prefix", "bos"},
                  {"sha256", "4739059e0ff1d22ea2960e276085545f807aec73a5bf19b43b0c20ca2d373335"}}));
}

TEST_P(RepeatedWords, RefusesBadParameters) {
  EXPECT_THAT(
      PromptEntry(GetParam(), {{"count", "1"}}).problems(),
      ElementsAre("prompts[0]: the key 'seq_len' is missing",
                  "prompts[0]: the key 'lags' is missing", "prompts[0]: the key 'path' is missing",
                  "prompts[0]: the key 'prefix' is missing"));
  EXPECT_THAT(entry("3", "[1, 2, 0, 2]").problems(),
              ElementsAre("prompts[0].lags[2]: must be a whole number from 1 to 10000000, not '0'",
                          "prompts[0].lags[3]: names the lag 2 twice"));
  EXPECT_THAT(entry("2", "[1, 2, 4]").problems(),
              ElementsAre("prompts[0].count: must be at least 3, so that every lag of `lags` gets "
                          "a prompt"));
  EXPECT_THAT(entry("2", "[]").problems(), ElementsAre("prompts[0].lags: names no lag"));
}

TEST_P(RepeatedWords, RefusesWhatDoesNotFitTheModel) {
  EXPECT_EQ(entry("2", "[1, 22]").failure(context_, ErrorKind::usage),
            "prompts 'p': a lag of 22 needs at least 24 words for a target, but seq_len: 24 leaves "
            "23 beside the prefix; make seq_len larger, or leave that lag out");
  EXPECT_EQ(entry("1", "22", "25").make(context_)[0].targets.size(), 1U);
  EXPECT_EQ(entry("2", "[1, 27]", "40").failure(context_, ErrorKind::usage),
            "prompts 'p': " + folder_.file("words.txt") +
                " has 26 words, of which 26 are left and 27 are needed; give a longer list, or "
                "leave out the lag 27");
  EXPECT_EQ(entry("1", "2", "1001").failure(context_, ErrorKind::usage),
            "prompts 'p': each prompt would have 1001 tokens, prefix included, but the model takes "
            "at most 1000; make it shorter");
  PromptContext bare = context_;
  bare.tokenizer = nullptr;
  EXPECT_EQ(entry("1", "2").failure(bare, ErrorKind::usage),
            "prompts 'p': this model has no tokenizer, so words cannot be made for it; use "
            "repeated_random or a file of token ids");
  bare.config_folder = "/nowhere";
  EXPECT_EQ(entry("1", "2").failure(bare, ErrorKind::input),
            "/nowhere/words.txt: cannot be read: No such file or directory");
}

}  // namespace
}  // namespace mechsweep
