#include "prompts/word_list.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/json.h"
#include "model/json_file.h"
#include "prompts/generator.h"
#include "tests/unit/prompts/word_files.h"

namespace mechsweep {
namespace {

using test_plan::Folder;
using test_prompts::NoQTokenizer;
using testing::ElementsAre;

const FakeTokenizer kTokenizer;
const NoQTokenizer kNoQ;

std::string read_failure(const std::string& content) {
  const Folder folder;
  const std::string path = folder.write("words.txt", content);
  try {
    (void)read_word_list(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with(path + ":")) << message;
    return message.substr(path.size());
  }
  return "nothing was thrown";
}

TEST(WordList, PassesOverCommentsAndWhiteSpace) {
  const Folder folder;
  const WordList list = read_word_list(
      folder.write("words.txt", "\xEF\xBB\xBF# a comment\r\n\r\n  Anna \r\n\tBob\nJos\xC3\xA9"));
  EXPECT_THAT(list.words, ElementsAre("Anna", "Bob", "Jos\xC3\xA9"));
}

TEST(WordList, RefusesWhatIsNoList) {
  EXPECT_EQ(read_failure("# nothing\n\n"), ": has no words");
  EXPECT_EQ(read_failure("Anna\nMary Ann\n"),
            ":2: 'Mary Ann' is more than one word; give one word a line");
  EXPECT_EQ(read_failure("Anna\n\nBob\nAnna\n"), ":4: the word 'Anna' is in line 1 already");
  EXPECT_EQ(read_failure("Anna\nB\xFF"), ": is not UTF-8 at byte 6; save it as UTF-8");
  try {
    (void)read_word_list("/nowhere/words.txt");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "/nowhere/words.txt: cannot be read: No such file or directory");
  }
}

std::string failure(const WordList& list, int64_t needed, const PromptContext& context,
                    const Prefix& prefix = {}) {
  try {
    (void)word_tokens("w", list, needed, prefix, context, "do something");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return "nothing was thrown";
}

// FakeTokenizer: " A".." Z" are one token, other words are not, and id 0 is special.
TEST(WordTokens, AWordNeedsATokenOfItsOwnInEveryModel) {
  const WordList list{"list", {"A", "capital", "Q", "Z"}};
  PromptContext context{&kTokenizer, 400, 100, 0, 1, ""};
  EXPECT_THAT(word_tokens("w", list, 3, {}, context, ""), ElementsAre(1, -1, 17, 26));
  EXPECT_THAT(word_tokens("w", list, 2, {Prefix::Kind::token, 26}, context, ""),
              ElementsAre(1, -1, 17, -1));
  context.compared = {{"one", &kTokenizer}, {"two", &kNoQ}};
  EXPECT_THAT(word_tokens("w", list, 2, {}, context, ""), ElementsAre(1, -1, -1, 26));
  context.tokenizer = &kNoQ;
  EXPECT_THAT(word_tokens("w", list, 2, {}, context, ""), ElementsAre(1, -1, -1, 26))
      << "the same words are left whichever model they are for";
}

TEST(WordTokens, ARefusalCountsAndNamesWhatIsLost) {
  const WordList list{"list", {"A", "capital", "Q", "b", "c", "d", "Z"}};
  PromptContext context{&kTokenizer, 400, 100, 0, 1, ""};
  EXPECT_EQ(failure(list, 4, context),
            "prompts 'w': list has 7 words, of which 4 are not one token of their own for this "
            "model, such as 'capital' (2 tokens), 'b' (2 tokens), 'c' (2 tokens); 3 are left and 4 "
            "are needed; do something");
  context.compared = {{"one", &kTokenizer}, {"two", &kNoQ}};
  EXPECT_EQ(failure({"list", {"A", "Q", "Z"}}, 3, context, {Prefix::Kind::token, 1}),
            "prompts 'w': list has 3 words, of which 1 are not one token of their own for model "
            "'one', such as 'A' (the prefix); 2 are not one token of their own for model 'two', "
            "such as 'A' (the prefix), 'Q' (3 tokens); 1 are left and 3 are needed; do something");
  EXPECT_EQ(failure({"list", {"A", "Z"}}, 3, context),
            "prompts 'w': list has 2 words, of which 2 are left and 3 are needed; do something");
  context.compared.push_back({"three", nullptr});
  EXPECT_EQ(failure({"list", {"A"}}, 1, context),
            "prompts 'w': model 'three' has no tokenizer, so words cannot be made for it; use "
            "repeated_random or a file of token ids");
  context.compared.clear();
  context.tokenizer = nullptr;
  EXPECT_EQ(failure({"list", {"A"}}, 1, context),
            "prompts 'w': this model has no tokenizer, so words cannot be made for it; use "
            "repeated_random or a file of token ids");
}

/// Writes every word like A, or like the special token, or refuses it.
class PoorTokenizer final : public FakeTokenizer {
 public:
  [[nodiscard]] Encoding encode(std::string_view text) const override {
    if (text.ends_with("B")) return FakeTokenizer::encode(" A");
    if (text.ends_with("C")) return FakeTokenizer::encode("<s>");
    if (text.ends_with("D")) return FakeTokenizer::encode("<bad>");
    return FakeTokenizer::encode(text);
  }
};

TEST(WordTokens, SaysWhyAWordIsLost) {
  const PoorTokenizer poor;
  const PromptContext context{&poor, 400, 100, 0, 1, ""};
  EXPECT_EQ(failure({"list", {"A", "B", "C", "D"}}, 2, context),
            "prompts 'w': list has 4 words, of which 3 are not one token of their own for this "
            "model, such as 'B' (the token of 'A'), 'C' (a special token), 'D' (0 tokens); 1 are "
            "left and 2 are needed; do something");
}

std::unique_ptr<Tokenizer> golden_tokenizer(const std::string& name) {
  return tokenizer_from_json(read_json_file(std::string(MECHSWEEP_SOURCE_DIR) +
                                            "/tests/golden/tokenizers/" + name + "/tokenizer.json"),
                             nullptr);
}

// A tokenizer of Llama 2's kind puts a space before every text, so that " the" alone is two tokens
// and "the" the one that stands inside a text. Others mean " the" by it.
TEST(EncodeInside, TokensAreThoseInsideAText) {
  for (const char* name : {"llama2-style", "mistral-style", "gemma-style", "gpt2-style",
                           "neox-style", "unigram-t5-style"}) {
    const auto tokenizer = golden_tokenizer(name);
    const Encoding inside = encode_inside(*tokenizer, " the");
    ASSERT_EQ(inside.ids.size(), 1U) << name;
    const Encoding text = tokenizer->encode("he the");
    EXPECT_EQ(inside.ids.back(), text.ids.back()) << name;
    EXPECT_EQ(inside.bytes.back().end, 4) << name;
  }
  EXPECT_EQ(golden_tokenizer("llama2-style")->encode(" the").ids.size(), 2U);
}

}  // namespace
}  // namespace mechsweep
