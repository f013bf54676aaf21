// Against the ids and offsets of the Hugging Face tokenizers library (tests/golden/README.md).
#include "tokenizer_files.h"

namespace mechsweep {
namespace {

class TokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  TokenizerGolden()
      : golden_(golden_json(std::string("tokenizer_") + GetParam() + ".json")),
        tokenizer_(tokenizer_from_json(golden_json(golden_.at("tokenizer")), nullptr)) {}

  /// Ids of a case without what the tokenizer puts before the text.
  static std::vector<int32_t> plain_ids(const Json& item) {
    return item.value("ids_without_special", item.at("ids")).get<std::vector<int32_t>>();
  }

  Json golden_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerGolden, Ids) {
  ASSERT_GE(golden_.at("cases").size(), 50U);
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    EXPECT_EQ(tokenizer_->encode(text).ids, plain_ids(item)) << text;
  }
}

TEST_P(TokenizerGolden, Offsets) {
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    auto expected = item.at("offsets").get<std::vector<std::vector<int>>>();
    expected.erase(expected.begin(), expected.end() - static_cast<int64_t>(plain_ids(item).size()));
    EXPECT_EQ(code_point_spans(text, tokenizer_->encode(text)), expected) << text;
  }
}

TEST_P(TokenizerGolden, SpansCoverTheTextWithoutGaps) {
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    int32_t end = 0;
    for (const Span& span : tokenizer_->encode(text).bytes) {
      EXPECT_EQ(span.begin, end) << text;
      end = span.end;
    }
    EXPECT_EQ(end, static_cast<int32_t>(text.size())) << text;
  }
}

TEST_P(TokenizerGolden, Decodes) {
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    EXPECT_EQ(tokenizer_->decode(plain_ids(item)), item.value("decoded", text));
  }
}

TEST_P(TokenizerGolden, Prefix) {
  for (const Json& item : golden_.at("cases")) {
    std::vector<int32_t> ids = tokenizer_->prefix();
    const std::vector<int32_t> plain = plain_ids(item);
    ids.insert(ids.end(), plain.begin(), plain.end());
    EXPECT_EQ(ids, item.at("ids").get<std::vector<int32_t>>());
  }
}

TEST_P(TokenizerGolden, Vocabulary) {
  EXPECT_EQ(tokenizer_->vocab_size(), golden_.at("vocab_size").get<int32_t>());
  const Json file = golden_json(golden_.at("tokenizer"));
  std::vector<int32_t> special;
  for (const Json& token : file.at("added_tokens")) {
    if (token.at("special").get<bool>()) special.push_back(token.at("id").get<int32_t>());
  }
  ASSERT_FALSE(special.empty());
  EXPECT_EQ(tokenizer_->special_tokens(), special);
}

INSTANTIATE_TEST_SUITE_P(Styles, TokenizerGolden,
                         testing::Values("gpt2_style", "smollm_style", "llama3_style"),
                         [](const auto& style) { return std::string(style.param); });

}  // namespace
}  // namespace mechsweep
