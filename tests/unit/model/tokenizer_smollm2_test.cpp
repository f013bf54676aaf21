// The tokenizer of a published GGUF file, which scripts/fetch_model.sh fetches.
#include <filesystem>

#include "model/tensor_source.h"
#include "tokenizer_files.h"

namespace mechsweep {
namespace {

constexpr const char* kModel =
    MECHSWEEP_SOURCE_DIR "/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";

class TokenizerSmolLm2 : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (std::filesystem::exists(kModel))
      tokenizer = tokenizer_from_gguf(open_gguf(kModel).metadata);
  }
  static void TearDownTestSuite() { tokenizer.reset(); }
  void SetUp() override {
    ASSERT_NE(tokenizer, nullptr) << kModel
                                  << " is missing: run scripts/fetch_model.sh smollm2-135m";
  }

  static std::unique_ptr<Tokenizer> tokenizer;
};
std::unique_ptr<Tokenizer> TokenizerSmolLm2::tokenizer;

TEST_F(TokenizerSmolLm2, IdsAndOffsetsOfTheReference) {
  const Json golden = golden_json("tokenizer_smollm2.json");
  int compared = 0;
  for (const Json& item : golden.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    if (item.contains("decoded")) continue;  // bytes without a token: see the next test
    const Encoding encoding = tokenizer->encode(text);
    EXPECT_EQ(encoding.ids, item.at("ids").get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(code_point_spans(text, encoding),
              item.at("offsets").get<std::vector<std::vector<int>>>())
        << text;
    EXPECT_EQ(tokenizer->decode(encoding.ids), text);
    ++compared;
  }
  EXPECT_GE(compared, 180);
}

// The reference drops such bytes without a word; a prompt that is not the one written is worse.
TEST_F(TokenizerSmolLm2, BytesWithoutATokenAreRefused) {
  const Json golden = golden_json("tokenizer_smollm2.json");
  int refused = 0;
  for (const Json& item : golden.at("cases")) {
    if (!item.contains("decoded")) continue;
    const auto text = item.at("text").get<std::string>();
    const std::string message = input_error([&] { (void)tokenizer->encode(text); });
    EXPECT_NE(message.find("no token for byte 0x"), std::string::npos) << message;
    ++refused;
  }
  EXPECT_GE(refused, 1);
}

TEST_F(TokenizerSmolLm2, WhatTheFileSays) {
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->bos_token(), 1);                    // tokenizer.ggml.bos_token_id
  EXPECT_EQ(tokenizer->prefix(), std::vector<int32_t>{});  // add_bos_token is false
  std::vector<int32_t> control(17);                        // the file's tokens of type 3: 0 to 16
  for (size_t i = 0; i < control.size(); ++i) control[i] = static_cast<int32_t>(i);
  EXPECT_EQ(tokenizer->special_tokens(), control);
}

}  // namespace
}  // namespace mechsweep
