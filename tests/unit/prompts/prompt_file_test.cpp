#include <cstdio>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/prompts/fake_tokenizer.h"
#include "tests/unit/prompts/prompt_set_support.h"

namespace mechsweep {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

const FakeTokenizer kTokenizer;

class PromptFileTest : public testing::Test {
 protected:
  void write(const std::string& content) {
    std::ofstream(context_.config_folder + kName, std::ios::binary) << content;
  }
  void TearDown() override { std::remove((context_.config_folder + kName).c_str()); }
  [[nodiscard]] static PromptEntry entry(
      std::vector<std::pair<std::string, std::string>> more = {}) {
    more.insert(more.begin(), {"path", kName});
    return {"file", more};
  }
  [[nodiscard]] std::string at(const std::string& rest) const {
    return context_.config_folder + kName + rest;
  }

  static constexpr const char* kName = "prompt_file_test.jsonl";
  PromptContext context_{&kTokenizer, 400, 8, 0, 1, testing::TempDir()};
};

TEST_F(PromptFileTest, ReadsLinesInOrderAndNamesThemAfterTheirLine) {
  write(
      "\xEF\xBB\xBF{\"tokens\": [1]}\r\n\r\n  \n{\"text\": \"A\", \"id\": \"mine\"}\r\n"
      "{\"tokens\": [3]}");
  const auto prompts = entry().make(context_);
  ASSERT_EQ(prompts.size(), 3U);
  EXPECT_EQ(prompts[0].id, "p0");
  EXPECT_THAT(prompts[0].tokens, ElementsAre(1));
  EXPECT_EQ(prompts[1].id, "mine");
  EXPECT_THAT(prompts[1].tokens, ElementsAre(0, 27));
  EXPECT_EQ(prompts[2].id, "p4");
}

TEST_F(PromptFileTest, PrefixGoesBeforeTexts) {
  write("{\"text\": \"A\"}\n");
  EXPECT_THAT(entry({{"prefix", "5"}}).make(context_)[0].tokens, ElementsAre(5, 27));
  EXPECT_THAT(entry({{"prefix", "bos"}}).make(context_)[0].tokens, ElementsAre(0, 27));
  EXPECT_THAT(entry({{"prefix", "none"}}).make(context_)[0].tokens, ElementsAre(27));
}

// The hash is that of `printf '{"tokens": [1]}\n' | sha256sum`.
TEST_F(PromptFileTest, ParametersStandForTheContentNotThePath) {
  write("{\"tokens\": [1]}\n");
  EXPECT_EQ(entry().source().parameters(context_),
            (Json{{"sha256", "16b906a59c4cac997528b221c16ef4de3ffe5c4811e1c5f933d0f9df2e829cf0"},
                  {"align", "none"},
                  {"prefix", "tokenizer"}}));
  EXPECT_EQ(entry({{"prefix", "bos"}, {"align", "last"}}).source().parameters(context_)["align"],
            "last");
  EXPECT_EQ(entry({{"prefix", "bos"}}).source().parameters(context_)["prefix"], "bos");
}

TEST_F(PromptFileTest, ErrorsNameFileLineAndField) {
  write("{\"tokens\": [1]}\n{\"tokens\": [1], \"spans\": {\"s\": [0, 2]}}\n");
  EXPECT_EQ(entry().failure(context_, ErrorKind::input),
            at(":2: spans.s: [0, 2] is not a range of tokens of this prompt, which has 1"));
  write("\n{\"tokens\": [1}\n");
  EXPECT_THAT(entry().failure(context_, ErrorKind::input),
              StartsWith(at(":2: is not valid JSON: column 14: ")));
  write("{\"tokens\": [400]}\n");
  EXPECT_EQ(entry().failure(context_, ErrorKind::input),
            at(":1: prompt 'p0': tokens[0]: 400 is not a token of this model, whose ids are 0 to "
               "399"));
  write("{\"tokens\": [1,1,1,1,1,1,1,1,1]}\n");
  EXPECT_EQ(entry().failure(context_, ErrorKind::input),
            at(":1: prompt 'p0': tokens: the prompt has 9 tokens, but the model takes at most 8"));
  write("{\"tokens\": [1], \"id\": \"p1\"}\n{\"tokens\": [1]}\n");
  EXPECT_EQ(entry().failure(context_, ErrorKind::input),
            at(":2: id: the prompt 'p1' is in line 1 already"));
  write("{\"tokens\": [1]}\n");
  EXPECT_THAT(entry({{"prefix", "none"}}).failure(context_, ErrorKind::usage),
              StartsWith(at(":1: tokens: ids are used as they are")));
}

TEST_F(PromptFileTest, RefusesEmptyAndMissingFiles) {
  for (const char* content : {"", "\n \r\n", "\xEF\xBB\xBF"}) {
    write(content);
    EXPECT_EQ(entry().failure(context_, ErrorKind::input), at(": has no prompts"));
  }
  std::remove(at("").c_str());
  const std::string missing = at(": cannot be read: No such file or directory");
  EXPECT_EQ(entry().failure(context_, ErrorKind::input), missing);
  EXPECT_THROW((void)entry().source().parameters(context_), Error);
}

TEST_F(PromptFileTest, RefusesBadParameters) {
  EXPECT_THAT(PromptEntry("file", {}).problems(),
              ElementsAre("prompts[0]: the key 'path' is missing"));
  EXPECT_THAT(
      entry({{"align", "lst"}, {"prefix", "eos"}, {"count", "3"}}).problems(),
      ElementsAre("prompts[0].align: unknown value 'lst'; did you mean 'last'? (known: first, "
                  "last, none)",
                  "prompts[0].prefix: must be none, bos or a token id of at least 0",
                  "prompts[0].count: unknown key (known: id, kind, path, align, prefix)"));
}

// The golden prompt files were written for the reference computation, not by this reader.
TEST(PromptFileGolden, ReadsTheGoldenFiles) {
  const PromptContext context{
      nullptr, 49152, 8192, 0, 1, std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/prompts"};
  const auto abna = PromptEntry("file", {{"path", "smollm2_abna.jsonl"}}).make(context);
  ASSERT_EQ(abna.size(), 8U);
  for (const Prompt& prompt : abna) {
    const auto last = static_cast<int32_t>(prompt.tokens.size()) - 1;
    ASSERT_EQ(prompt.targets.size(), 1U);
    EXPECT_EQ(prompt.targets[0].at, last);
    EXPECT_EQ(prompt.targets[0].answer, prompt.tokens[2]) << "A B ... A: the answer is B";
    EXPECT_EQ(prompt.tokens[1], prompt.tokens[last]);
  }
  EXPECT_EQ(PromptEntry("file", {{"path", "repeat_smollm2.jsonl"}}).make(context).size(), 3U);
  EXPECT_EQ(PromptEntry("file", {{"path", "smollm2_mixed.jsonl"}}).make(context).size(), 6U);
}

}  // namespace
}  // namespace mechsweep
