// Tokenizers that normalise, in the styles of published ones, against the Hugging Face tokenizers
// library (tests/golden/README.md).
#include "tokenizer_files.h"

namespace mechsweep {
namespace {

class TokenizerStyle : public testing::TestWithParam<const char*> {
 protected:
  TokenizerStyle()
      : golden_(golden_json(std::string("tokenizer_") + GetParam() + "_style.json")),
        tokenizer_(tokenizer_from_json(golden_json(golden_.at("tokenizer")), nullptr)) {}

  static std::vector<int32_t> plain_ids(const Json& item) {
    return item.value("ids_without_special", item.at("ids")).get<std::vector<int32_t>>();
  }

  Json golden_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerStyle, Ids) {
  ASSERT_GE(golden_.at("cases").size(), 100U);
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    EXPECT_EQ(tokenizer_->encode(text).ids, plain_ids(item)) << text;
  }
}

/// Whether spans agree: they are equal; or the token is a space that was put in, which has nothing
/// here and the character behind it there; or normalisation joined characters, all of which belong
/// to the token here and one of them there.
bool agrees(const std::vector<int>& span, const std::vector<int>& expected) {
  if (span == expected) return true;
  if (span[0] == span[1]) return span[0] == expected[0];
  return span[0] <= expected[0] && span[1] >= expected[1];
}

TEST_P(TokenizerStyle, Offsets) {
  int different = 0;
  int all = 0;
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    // Where the first character is dropped, the reference moves all that follows to the front.
    if (text.starts_with("\u00AD")) continue;
    auto expected = item.at("offsets").get<std::vector<std::vector<int>>>();
    expected.erase(expected.begin(), expected.end() - static_cast<int64_t>(plain_ids(item).size()));
    const auto spans = code_point_spans(text, tokenizer_->encode(text));
    ASSERT_EQ(spans.size(), expected.size()) << text;
    for (size_t i = 0; i < spans.size(); ++i) {
      EXPECT_TRUE(agrees(spans[i], expected[i]))
          << text << ", token " << i << ": " << spans[i][0] << " to " << spans[i][1]
          << ", expected " << expected[i][0] << " to " << expected[i][1];
      different += spans[i] != expected[i] ? 1 : 0;
      ++all;
    }
  }
  EXPECT_LT(different, all / 4) << "few spaces are put in, few characters joined";
}

TEST_P(TokenizerStyle, Decodes) {
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    EXPECT_EQ(tokenizer_->decode(plain_ids(item)), item.value("decoded", text));
  }
}

TEST_P(TokenizerStyle, PrefixAndVocabulary) {
  for (const Json& item : golden_.at("cases")) {
    std::vector<int32_t> ids = tokenizer_->prefix();
    const std::vector<int32_t> plain = plain_ids(item);
    ids.insert(ids.end(), plain.begin(), plain.end());
    EXPECT_EQ(ids, item.at("ids").get<std::vector<int32_t>>());
  }
  EXPECT_EQ(tokenizer_->vocab_size(), golden_.at("vocab_size").get<int32_t>());
}

INSTANTIATE_TEST_SUITE_P(Published, TokenizerStyle,
                         testing::Values("neox", "qwen2", "llama2", "mistral", "gemma",
                                         "unigram_t5", "unigram_albert", "unigram_bytes"),
                         [](const auto& style) { return std::string(style.param); });

}  // namespace
}  // namespace mechsweep
