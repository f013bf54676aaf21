#include "prompts/prompt_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/unit/prompts/fake_tokenizer.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

const FakeTokenizer kTokenizer;
const PromptLineOptions kText{&kTokenizer, std::nullopt, "none", "p4"};

Prompt parse(const std::string& line, const PromptLineOptions& options = kText) {
  return prompt_from_json(parse_prompt_json(line), options);
}

std::string failure(const std::string& line, const PromptLineOptions& options = kText,
                    ErrorKind kind = ErrorKind::input) {
  try {
    parse(line, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "nothing was thrown";
}

TEST(PromptLine, ReadsIdsWithEveryField) {
  const Prompt prompt = parse(R"({"tokens": [9, 5, 6, 7], "corrupt_tokens": [9, 5, 8, 7],
    "targets": [{"at": -1, "answer": 3, "wrong": [1, 2]}, {"at": 1, "answer": 6}],
    "corrupt_targets": [{"at": 3, "answer": 1}],
    "spans": {"swapped": [1, 3]}, "pairs": {"copy": [[3, 0], [-1, -2]]},
    "template": "t3", "id": "p17", "prefix_length": 1})");
  EXPECT_THAT(prompt.tokens, ElementsAre(9, 5, 6, 7));
  EXPECT_THAT(prompt.corrupt_tokens, ElementsAre(9, 5, 8, 7));
  EXPECT_THAT(prompt.targets, ElementsAre(Target{1, 6, {}}, Target{3, 3, {1, 2}}));
  EXPECT_THAT(prompt.corrupt_targets, ElementsAre(Target{3, 1, {}}));
  EXPECT_EQ(prompt.spans.at("swapped"), (Span{1, 3}));
  EXPECT_EQ(prompt.pairs.at("copy"), (PositionPairs{{3, 0}, {3, 2}}));
  EXPECT_EQ(prompt.template_label, "t3");
  EXPECT_EQ(prompt.id, "p17");
  EXPECT_EQ(prompt.prefix_length, 1);
}

TEST(PromptLine, TextGetsTheTokenizersPrefixAndIsTrackedAsTyped) {
  const Prompt prompt =
      parse(R"({"text": "A B", "corrupt_text": "A C", "answer": " D", "wrong": ["D", 31]})");
  EXPECT_THAT(prompt.targets, ElementsAre(Target{2, 4, {30, 31}}));
  EXPECT_THAT(prompt.tokens, ElementsAre(0, 27, 2));
  EXPECT_THAT(prompt.corrupt_tokens, ElementsAre(0, 27, 3));
  EXPECT_EQ(prompt.prefix_length, 1);
  EXPECT_EQ(prompt.text, "A B");
  EXPECT_EQ(prompt.corrupt_text, "A C");
  EXPECT_EQ(prompt.id, "p4");
  EXPECT_THAT(parse(R"({"tokens": [1], "answer": 2, "wrong": []})").targets,
              ElementsAre(Target{0, 2, {}}));
}

TEST(PromptLine, TheConfigsPrefixReplacesTheTokenizers) {
  PromptLineOptions options = kText;
  options.prefix = {{7}};
  EXPECT_THAT(parse(R"({"text": "A"})", options).tokens, ElementsAre(7, 27));
  options.prefix = {std::vector<int32_t>{}};
  const Prompt bare = parse(R"({"text": "A"})", options);
  EXPECT_THAT(bare.tokens, ElementsAre(27));
  EXPECT_EQ(bare.prefix_length, 0);
}

TEST(PromptLine, IdsWinOverText) {
  const Prompt prompt = parse(R"({"tokens": [5], "text": "A B"})");
  EXPECT_THAT(prompt.tokens, ElementsAre(5));
  EXPECT_EQ(prompt.text, "A B");
  EXPECT_EQ(prompt.prefix_length, 0);
}

TEST(PromptLine, OfATrackedStringTheFirstTokenCounts) {
  const Prompt prompt = parse(R"({"text": "A", "answer": " Xy", "wrong": ["capitals"]})");
  EXPECT_EQ(prompt.targets[0], (Target{1, 24, {300}}));
  EXPECT_EQ(failure(R"({"text": "A", "answer": " Xy", "wrong": [" B", " Xz"]})"),
            "wrong[1]: its first token 24 is that of another tracked answer of this target");
  EXPECT_EQ(failure(R"({"tokens": [1], "targets": [{"at": 0, "answer": 3, "wrong": [2, 2]}]})"),
            "targets[0].wrong[1]: its first token 2 is that of another tracked answer of this "
            "target");
}

// "x capital é": x, space, capital, space and the two bytes of é are tokens 1 to 6 after BOS.
TEST(PromptLine, SpanTextsBecomeTheTokensThatTheyTouch) {
  const Prompt prompt = parse(
      "{\"text\": \"x capital \xC3\xA9\", \"span_text\": {\"word\": \"capital\", \"part\": "
      "\"pit\", \"two\": \" capital\", \"accent\": \"\xC3\xA9\"}}");
  EXPECT_EQ(prompt.spans.at("word"), (Span{3, 4}));
  EXPECT_EQ(prompt.spans.at("part"), (Span{3, 4}));
  EXPECT_EQ(prompt.spans.at("two"), (Span{2, 4}));
  EXPECT_EQ(prompt.spans.at("accent"), (Span{5, 7}));
}

TEST(PromptLine, SpanTextsMustOccurOnce) {
  EXPECT_EQ(failure(R"({"text": "aXa", "span_text": {"s": "b"}})"),
            "span_text.s: 'b' does not occur in text");
  EXPECT_EQ(failure(R"({"text": "aaa", "span_text": {"s": "aa"}})"),
            "span_text.s: 'aa' occurs more than once in text; lengthen it, or give spans");
  EXPECT_EQ(failure(R"({"text": "ab", "spans": {"s": [0, 1]}, "span_text": {"s": "a"}})"),
            "span_text.s: the span 's' is given in spans already");
  EXPECT_EQ(failure(R"({"tokens": [1], "text": "ab", "span_text": {"s": "a"}})"),
            "span_text: needs a prompt given as text; give spans of token positions");
}

TEST(PromptLine, RoundTripsThroughItsJson) {
  const Prompt first = parse(
      R"({"text": "A B C", "corrupt_text": "A D C", "answer": " E", "wrong": [" F"],
          "span_text": {"b": " B"}, "pairs": {"x": [[-1, 1]]}, "template": "t"})");
  const Json json = prompt_to_json(first);
  EXPECT_EQ(prompt_to_json(prompt_from_json(json, kText)), json);
}

TEST(PromptLine, RefusesLinesThatAreNotObjects) {
  EXPECT_EQ(failure("[1]"), "must be a JSON object, not array");
  EXPECT_THAT(failure(R"({"tokens": [1,]})"), StartsWith("is not valid JSON: column 15: "));
  EXPECT_THAT(failure(R"({"tokens": [1]} x)"), StartsWith("is not valid JSON: column 17: "));
  EXPECT_THAT(failure("{\"text\": \"\xFF\"}"), StartsWith("is not valid JSON: column 11: "));
  EXPECT_EQ(failure(R"({"tokens": [1], "tokens": [2]})"), "has the name 'tokens' twice");
  EXPECT_EQ(failure(R"({"tokens": [1], "spans": {"a": [0, 1], "a": [0, 1]}})"),
            "has the name 'a' twice");
  EXPECT_EQ(failure(std::string(100000, '[')), "is nested deeper than 64 levels");
  EXPECT_EQ(failure("{\"tokens\": " + std::string(100000, '[') + std::string(100000, ']') + "}"),
            "is nested deeper than 64 levels");
}

TEST(PromptLine, TextsThatNoMessageOrResultCanHoldAreRefusedOrShownEscaped) {
  const std::string wanted = "id: must be a text of at most 1000 bytes without control characters";
  EXPECT_EQ(failure(R"({"tokens": [1], "id": "a\u0000"})"), wanted);
  EXPECT_EQ(failure(R"({"tokens": [1], "id": ")" + std::string(1001, 'a') + "\"}"), wanted);
  EXPECT_EQ(failure(R"({"tokens": [1], "spans": {"a\u001b": [1, 0]}})"),
            R"(spans.a\x1B: [1, 0] is not a range of tokens of this prompt, which has 1)");
  EXPECT_LT(failure("{\"" + std::string(100'000, 'a') + "\": 1}").size(), 400U);
}

TEST(PromptLine, RefusesUnknownAndMissingFields) {
  EXPECT_THAT(failure(R"({"token": [1]})"),
              StartsWith("token: unknown field; did you mean 'tokens'? (known: tokens, text, "));
  EXPECT_THAT(failure(R"({"tokens": [1], "zebra": 1})"),
              StartsWith("zebra: unknown field (known: "));
  EXPECT_EQ(failure(R"({"tokens": [1], "targets": [{"at": 0, "answr": 1}]})"),
            "targets[0].answr: unknown field; did you mean 'answer'? (known: at, answer, wrong)");
  EXPECT_EQ(failure("{}"), "tokens: a prompt needs tokens or text");
  EXPECT_EQ(failure(R"({"tokens": [1], "targets": [{"answer": 1}]})"), "targets[0].at: is missing");
  EXPECT_EQ(failure(R"({"tokens": [1], "targets": [{"at": 0}]})"), "targets[0].answer: is missing");
  EXPECT_EQ(failure(R"({"tokens": [1], "wrong": [1]})"), "wrong: needs an answer beside it");
}

TEST(PromptLine, RefusesWrongTypesAndEmptyValues) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"({"tokens": 1})", "tokens: must be a list, not number"},
      {R"({"tokens": []})", "tokens: is empty; leave it out or fill it in"},
      {R"({"tokens": [1.0]})", "tokens[0]: must be a whole number of 32 bits, not number"},
      {R"({"tokens": [1, "2"]})", "tokens[1]: must be a whole number of 32 bits, not string"},
      {R"({"tokens": [2147483648]})", "tokens[0]: must be a whole number of 32 bits, not number"},
      {R"({"tokens": [18446744073709551615]})",
       "tokens[0]: must be a whole number of 32 bits, not number"},
      {R"({"tokens": [-2147483649]})", "tokens[0]: must be a whole number of 32 bits, not number"},
      {R"({"text": ["A"]})", "text: must be text, not array"},
      {R"({"text": ""})", "text: is empty; leave it out or fill it in"},
      {R"({"text": null})", "text: must be text, not null"},
      {R"({"tokens": [1], "id": 3})", "id: must be text, not number"},
      {R"({"tokens": [1], "template": ""})", "template: is empty; leave it out or fill it in"},
      {R"({"tokens": [1], "answer": true})", "answer: must be text or a token id"},
      {R"({"tokens": [1], "answer": ""})", "answer: is empty; leave it out or fill it in"},
      {R"({"tokens": [1], "answer": 1, "wrong": 2})", "wrong: must be a list, not number"},
      {R"({"tokens": [1], "targets": {}})", "targets: must be a list, not object"},
      {R"({"tokens": [1], "targets": [3]})", "targets[0]: must be an object, not number"},
      {R"({"tokens": [1], "spans": [0, 1]})", "spans: must be an object, not array"},
      {R"({"tokens": [1], "spans": {"a": [0]}})", "spans.a: must be a list of two numbers"},
      {R"({"tokens": [1], "pairs": {"a": [0, 0]}})", "pairs.a[0]: must be a list of two numbers"},
      {R"({"tokens": [1], "pairs": {"a": []}})", "pairs.a: is empty; leave it out or fill it in"}};
  for (const auto& [line, message] : cases) EXPECT_EQ(failure(line), message) << line;
}

TEST(PromptLine, RefusesPositionsOutsideThePrompt) {
  EXPECT_EQ(failure(R"({"tokens": [1, 2], "targets": [{"at": 2, "answer": 1}]})"),
            "targets[0].at: position 2 is outside the prompt of 2 tokens");
  EXPECT_EQ(failure(R"({"tokens": [1, 2], "targets": [{"at": -3, "answer": 1}]})"),
            "targets[0].at: position -3 is outside the prompt of 2 tokens");
  EXPECT_EQ(failure(R"({"tokens": [1, 2], "pairs": {"c": [[1, 0], [2, 0]]}})"),
            "pairs.c[1]: position 2 is outside the prompt of 2 tokens");
  EXPECT_EQ(failure(R"({"tokens": [1, 2], "pairs": {"c": [[0, -1]]}})"),
            "pairs.c[0]: the key 1 is after its query 0");
  for (const char* range : {"[1, 1]", "[1, 3]", "[-1, 1]", "[1, 0]"})
    EXPECT_THAT(failure(fmt::format(R"({{"tokens": [1, 2], "spans": {{"s": {}}}}})", range)),
                testing::AllOf(StartsWith("spans.s: ["),
                               testing::EndsWith("is not a range of tokens of this prompt, which "
                                                 "has 2")));
  EXPECT_EQ(failure(R"({"tokens": [1, 2], "prefix_length": 3})"),
            "prefix_length: 3 is not a number of leading tokens of a prompt of 2");
  for (const char* name : {"all", "targets", "each"})
    EXPECT_EQ(failure(fmt::format(R"({{"tokens": [1, 2], "spans": {{"{}": [0, 1]}}}})", name)),
              fmt::format("spans.{0}: '{0}' cannot be the name of a span, since `positions` gives "
                          "it a meaning",
                          name));
}

TEST(PromptLine, RefusesFieldsThatDoNotGoTogether) {
  EXPECT_EQ(failure(R"({"tokens": [1], "corrupt_text": "A"})"),
            "corrupt_text: goes with text; a prompt given as tokens needs corrupt_tokens");
  EXPECT_EQ(failure(R"({"text": "A", "corrupt_tokens": [1]})"),
            "corrupt_tokens: goes with tokens; a prompt given as text needs corrupt_text");
  EXPECT_EQ(failure(R"({"text": "A", "prefix_length": 1})"),
            "prefix_length: goes with tokens; the prefix of a text is counted as it is added");
  EXPECT_EQ(failure(R"({"tokens": [1], "answer": 1, "targets": [{"at": 0, "answer": 1}]})"),
            "answer: is shorthand for one target at the last position; give it or targets");
  EXPECT_EQ(failure(R"({"tokens": [1], "corrupt_targets": [{"at": 0, "answer": 1}]})"),
            "corrupt_targets: needs corrupt_tokens or corrupt_text beside it");
}

TEST(PromptLine, RefusesUnequalLengths) {
  EXPECT_EQ(failure(R"({"tokens": [1, 2], "corrupt_tokens": [1]})"),
            "corrupt_tokens: the corrupt prompt has 1 tokens and the clean one 2; make them "
            "equally long");
  EXPECT_EQ(failure(R"({"text": "A", "corrupt_text": "ABC"})"),
            "corrupt_text: the corrupt prompt has 4 tokens and the clean one 2; make them equally "
            "long");
  PromptLineOptions aligned = kText;
  aligned.align = "last";
  EXPECT_EQ(failure(R"({"text": "A", "corrupt_text": "ABC"})", aligned, ErrorKind::usage),
            "align: last is not supported yet, and the corrupt prompt has 4 tokens but the clean "
            "one 2; make them equally long");
  EXPECT_EQ(parse(R"({"text": "A", "corrupt_text": "B"})", aligned).tokens.size(), 2U);
}

TEST(PromptLine, SaysWhatCannotBeTokenised) {
  EXPECT_EQ(failure(R"({"text": "A <bad>"})"), "text: cannot be tokenised");
  EXPECT_EQ(failure(R"({"tokens": [1], "answer": "<bad>"})"), "answer: cannot be tokenised");
  const PromptLineOptions ids_only{nullptr, std::nullopt, "none", "p"};
  const std::string reason = ": the model has no tokenizer, so text cannot be used; give token ids";
  EXPECT_EQ(failure(R"({"text": "A"})", ids_only), "text" + reason);
  EXPECT_EQ(failure(R"({"tokens": [1], "answer": "A"})", ids_only), "answer" + reason);
  EXPECT_EQ(parse(R"({"tokens": [1], "answer": 2})", ids_only).targets[0], (Target{0, 2, {}}));
  PromptLineOptions prefixed = kText;
  prefixed.prefix = {{7}};
  EXPECT_EQ(failure(R"({"tokens": [1]})", prefixed, ErrorKind::usage),
            "tokens: ids are used as they are, so the config's `prefix` cannot be put before them; "
            "remove it, or give text");
}

}  // namespace
}  // namespace mechsweep
