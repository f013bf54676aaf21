// The tokenizer of a published GGUF file with SentencePiece's BPE, which scripts/fetch_model.sh
// fetches.
#include <filesystem>

#include "model/tensor_source.h"
#include "tokenizer_files.h"

namespace mechsweep {
namespace {

constexpr const char* kModel = MECHSWEEP_SOURCE_DIR "/models/gemma3-270m/gemma-3-270m-q4_k_m.gguf";

class TokenizerGemma3 : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (std::filesystem::exists(kModel)) {
      tokenizer = tokenizer_from_gguf(open_gguf(kModel).metadata);
    }
  }
  static void TearDownTestSuite() { tokenizer.reset(); }
  void SetUp() override {
    if (tokenizer == nullptr) GTEST_SKIP() << kModel << " is not there";
  }

  static std::unique_ptr<Tokenizer> tokenizer;
};
std::unique_ptr<Tokenizer> TokenizerGemma3::tokenizer;

TEST_F(TokenizerGemma3, IdsOffsetsAndTextsOfTheReference) {
  const Json golden = golden_json("tokenizer_gemma3.json");
  ASSERT_GE(golden.at("cases").size(), 200U);
  for (const Json& item : golden.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    const auto ids = item.value("ids_without_special", item.at("ids")).get<std::vector<int32_t>>();
    auto offsets = item.at("offsets").get<std::vector<std::vector<int>>>();
    offsets.erase(offsets.begin(), offsets.end() - static_cast<int64_t>(ids.size()));
    const Encoding encoding = tokenizer->encode(text);
    EXPECT_EQ(encoding.ids, ids) << text;
    EXPECT_EQ(code_point_spans(text, encoding), offsets) << text;
    EXPECT_EQ(tokenizer->decode(ids), item.value("decoded", text));
  }
}

TEST_F(TokenizerGemma3, WhatTheFileSays) {
  EXPECT_EQ(tokenizer->vocab_size(), 262144);
  EXPECT_EQ(tokenizer->bos_token(), 2);
  EXPECT_EQ(tokenizer->prefix(), (std::vector<int32_t>{2}));
  EXPECT_EQ(tokenizer->special_tokens().size(), 6249U);  // the file's tokens of type 3
}

}  // namespace
}  // namespace mechsweep
