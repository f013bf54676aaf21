#include "model/pretokenizer.h"

#include "tokenizer_files.h"

namespace mechsweep {
namespace {

std::vector<std::string> texts(const std::string& text, const std::vector<Span>& spans) {
  std::vector<std::string> result;
  for (const Span& span : spans) {
    result.push_back(
        text.substr(static_cast<size_t>(span.begin), static_cast<size_t>(span.end - span.begin)));
  }
  return result;
}

std::vector<std::string> split(const SplitStep& step, const std::string& text) {
  return texts(text, apply_split(step, text));
}

std::vector<std::string> find(const std::string& pattern, const std::string& text) {
  return texts(text, SplitRegex::from_pattern(pattern).find_all(text));
}

std::vector<std::string> gpt2(const std::string& text) {
  return split({SplitRegex::from_pattern(kGpt2Pattern)}, text);
}

using Texts = std::vector<std::string>;

// The example in the documentation of the reference's split behaviours.
TEST(ApplySplit, PublishedBehaviors) {
  const std::string text = "the-final--countdown";
  const SplitRegex dash = SplitRegex::from_literal("-");
  EXPECT_EQ(split({dash, SplitBehavior::removed}, text), (Texts{"the", "final", "countdown"}));
  EXPECT_EQ(split({dash, SplitBehavior::isolated}, text),
            (Texts{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split({dash, SplitBehavior::merged_with_previous}, text),
            (Texts{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split({dash, SplitBehavior::merged_with_next}, text),
            (Texts{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split({dash, SplitBehavior::contiguous}, text),
            (Texts{"the", "-", "final", "--", "countdown"}));
}

TEST(ApplySplit, InvertTakesTheGapsAsMatches) {
  const SplitRegex dash = SplitRegex::from_literal("-");
  EXPECT_EQ(split({dash, SplitBehavior::removed, true}, "a-b--c"), (Texts{"-", "-", "-"}));
  EXPECT_EQ(split({dash, SplitBehavior::merged_with_next, true}, "a-b"), (Texts{"a-", "b"}));
}

TEST(ApplySplit, EmptyMatchesOnlyCut) {
  EXPECT_EQ(split({SplitRegex::from_pattern("(?=b)"), SplitBehavior::isolated}, "abab"),
            (Texts{"a", "ba", "b"}));
  EXPECT_EQ(split({SplitRegex::from_pattern("x*"), SplitBehavior::isolated}, "éa"),
            (Texts{"é", "a"}));
}

// Example of the GPT-2 pattern's purpose: words keep the space before them, runs of spaces give
// their last one away, and contractions stand alone.
TEST(Gpt2Pattern, WordsSpacesAndContractions) {
  EXPECT_EQ(gpt2("Hello world"), (Texts{"Hello", " world"}));
  EXPECT_EQ(gpt2("it's  12 b"), (Texts{"it", "'s", " ", " 12", " b"}));
  EXPECT_EQ(gpt2("a\n\nb  "), (Texts{"a", "\n", "\n", "b", "  "}));
  EXPECT_EQ(gpt2("naïve 日本!?"), (Texts{"naïve", " 日本", "!?"}));
}

TEST(SplitRegex, OnigurumaIsReadAsOnigurumaReadsIt) {
  // U+180E has not been white space since Unicode 6.3; U+0085 is.
  EXPECT_EQ(find(R"(\s+)", "a\u180Eb\u0085c \u3000d"), (Texts{"\u0085", " \u3000"}));
  EXPECT_EQ(find(R"([^\s]+)", "a b"), (Texts{"a", "b"}));
  EXPECT_EQ(find(R"(\w+)", "e\u0301t\u00e9_1 -"), (Texts{"e\u0301t\u00e9_1"}));
  EXPECT_EQ(find(R"([ab[cd]]+)", "xabcdx"), (Texts{"abcd"})) << "classes nest";
  EXPECT_EQ(find("^.", "ab\ncd"), (Texts{"a", "c"})) << "^ is at every line";
  EXPECT_EQ(find(R"((?i:'S))", "it's \u017F '\u017F"), (Texts{"'s", "'\u017F"}));
  EXPECT_EQ(find(R"(\u00e9+)", "aéé"), (Texts{"éé"}));
  EXPECT_EQ(find(R"([\]\-]+)", "a]-b"), (Texts{"]-"}));
}

TEST(SplitRegex, RefusesWhatItCannotCarryOver) {
  for (const char* pattern :
       {R"(\h)", R"(\b)", R"(a(?m:.))", "[a&&b]", "[[:alpha:]]", "[a[^b]]", "(*COMMIT)", "(a)\\1",
        R"(\p{N}{1,3}+)", "a{,3}", R"([\W])", "(?R)", "[+-[a]]", R"(a\)"}) {
    EXPECT_NE(input_error([&] { SplitRegex::from_pattern(pattern); }).find("split pattern"),
              std::string::npos)
        << pattern;
  }
}

TEST(SplitRegex, RefusesDamagedPatterns) {
  for (const char* pattern : {"(", "[a", R"(\p{NoSuchScript})", "a**b)", R"(\p{L)", "\xFF", "(?",
                              R"(\u12)", "[", "(?i"}) {
    EXPECT_FALSE(input_error([&] { SplitRegex::from_pattern(pattern); }).empty()) << pattern;
  }
}

TEST(SplitRegex, GivesUpOnEndlessBacktracking) {
  const SplitRegex pattern = SplitRegex::from_pattern("(?:a|aa|aaa)+[bc]");
  const std::string message = input_error([&] { (void)pattern.find_all(std::string(200, 'a')); });
  EXPECT_NE(message.find("gave up"), std::string::npos);
}

TEST(SplitRegex, LiteralsAreNoPatterns) {
  EXPECT_EQ(texts("a.b.*", SplitRegex::from_literal(".*").find_all("a.b.*")), (Texts{".*"}));
}

TEST(Pretokenizer, PrefixSpaceHasNoBytes) {
  Pretokenizer pretokenizer;
  pretokenizer.add_prefix_space = true;
  pretokenizer.byte_level_split.push_back({SplitRegex::from_pattern(kGpt2Pattern)});
  EXPECT_EQ(pretokenizer.split("ab c"), (std::vector<Piece>{{{0, 2}, true}, {{2, 4}, false}}));
  EXPECT_EQ(pretokenizer.split(" ab"), (std::vector<Piece>{{{0, 3}, false}}));
  EXPECT_EQ(pretokenizer.split("\nb"),
            (std::vector<Piece>{{{0, 0}, true}, {{0, 1}, false}, {{1, 2}, false}}));
  EXPECT_EQ(pretokenizer.split(""), std::vector<Piece>{});
}

// Every step sees the pieces of the one before alone, so the prefix space comes to each of them.
TEST(Pretokenizer, StepsChain) {
  Pretokenizer pretokenizer;
  pretokenizer.splits.push_back({SplitRegex::from_pattern(R"(\p{N})")});
  pretokenizer.byte_level_split.push_back({SplitRegex::from_pattern(kGpt2Pattern)});
  EXPECT_EQ(pretokenizer.split("a 12"),
            (std::vector<Piece>{{{0, 1}}, {{1, 2}}, {{2, 3}}, {{3, 4}}}));
  pretokenizer.add_prefix_space = true;
  EXPECT_EQ(pretokenizer.split("1a"), (std::vector<Piece>{{{0, 1}, true}, {{1, 2}, true}}));
}

}  // namespace
}  // namespace mechsweep
