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

/// Pieces as "text[begin,end)", the range being the bytes of the original.
Texts pieces(const Pretokenizer& pretokenizer, const std::string& text, int32_t at_start = 1) {
  const Pieces result = pretokenizer.split(text, at_start);
  Texts shown;
  for (const Span& span : result.spans) {
    const Span source = result.text.source(span);
    shown.push_back(
        fmt::format("{}[{},{})", part_of(result.text.view(text), span), source.begin, source.end));
  }
  return shown;
}

Pretokenizer of_steps(std::vector<std::variant<SplitStep, SpaceStep, MetaspaceStep>> steps) {
  return {std::move(steps)};
}

TEST(Pretokenizer, PrefixSpaceHasNoBytes) {
  const Pretokenizer spaced =
      of_steps({SpaceStep{}, SplitStep{SplitRegex::from_pattern(kGpt2Pattern)}});
  EXPECT_EQ(pieces(spaced, "ab c"), (Texts{" ab[0,2)", " c[2,4)"}));
  EXPECT_EQ(pieces(spaced, " ab"), (Texts{" ab[0,3)"}));
  EXPECT_EQ(pieces(spaced, "\nb"), (Texts{" [0,0)", "\n[0,1)", "b[1,2)"}));
  EXPECT_EQ(pieces(spaced, ""), Texts{});
}

// Every step sees the pieces of the one before alone, so the prefix space comes to each of them.
TEST(Pretokenizer, StepsChain) {
  const SplitStep digits{SplitRegex::from_pattern(R"(\p{N})")};
  const SplitStep words{SplitRegex::from_pattern(kGpt2Pattern)};
  EXPECT_EQ(pieces(of_steps({digits, words}), "a 12"),
            (Texts{"a[0,1)", " [1,2)", "1[2,3)", "2[3,4)"}));
  EXPECT_EQ(pieces(of_steps({digits, SpaceStep{}, words}), "1a"), (Texts{" 1[0,1)", " a[1,2)"}));
}

// The examples of the reference's own documentation of Metaspace.
TEST(Pretokenizer, Metaspace) {
  MetaspaceStep step;
  EXPECT_EQ(pieces(of_steps({step}), "Hey friend!"), (Texts{"▁Hey[0,3)", "▁friend![3,11)"}));
  EXPECT_EQ(pieces(of_steps({step}), "Hey   friend!"),
            (Texts{"▁Hey[0,3)", "▁[3,4)", "▁[4,5)", "▁friend![5,13)"}));
  EXPECT_EQ(pieces(of_steps({step}), " a"), (Texts{"▁a[0,2)"})) << "nothing is put in";
  EXPECT_EQ(pieces(of_steps({step}), "▁a"), (Texts{"▁a[0,4)"}));
  step.split = false;
  EXPECT_EQ(pieces(of_steps({step}), "a b c"), (Texts{"▁a▁b▁c[0,5)"}));
  step.prepend = MetaspaceStep::Prepend::never;
  EXPECT_EQ(pieces(of_steps({step}), "a b"), (Texts{"a▁b[0,3)"}));
}

TEST(Pretokenizer, MetaspaceFirstIsTheStartOfTheText) {
  MetaspaceStep step;
  step.prepend = MetaspaceStep::Prepend::first;
  const SplitStep dash{SplitRegex::from_literal("-"), SplitBehavior::removed};
  EXPECT_EQ(pieces(of_steps({dash, step}), "a-b"), (Texts{"▁a[0,1)", "b[2,3)"}));
  EXPECT_EQ(pieces(of_steps({dash, step}), "a-b", 0), (Texts{"a[0,1)", "b[2,3)"}));
  EXPECT_EQ(pieces(of_steps({dash, step}), "a-b-c", 3), (Texts{"▁a[0,1)", "▁b[2,3)", "c[4,5)"}))
      << "where the first character became three";
  step.prepend = MetaspaceStep::Prepend::always;
  EXPECT_EQ(pieces(of_steps({dash, step}), "a-b", 0), (Texts{"▁a[0,1)", "▁b[2,3)"}));
}

}  // namespace
}  // namespace mechsweep
