#include "tokenizer_files.h"

namespace mechsweep {
namespace {

using Ids = std::vector<int32_t>;

/// Metadata with the 256 byte symbols, "ab" (256), "ab1" (257), a control token "<s>" (258), a
/// user-defined "<t>" (259) and an unused "<u>" (260).
Json metadata(const std::string& pre) {
  Json tokens = Json::array();
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_symbol(static_cast<uint8_t>(byte)));
  Json types = std::vector<int>(258, 1);
  for (const char* token : {"ab", "ab1", "<s>", "<t>", "<u>"}) tokens.push_back(token);
  for (int type : {3, 4, 5}) types.push_back(type);
  return {{"tokenizer.ggml.model", "gpt2"},   {"tokenizer.ggml.pre", pre},
          {"tokenizer.ggml.tokens", tokens},  {"tokenizer.ggml.token_type", types},
          {"tokenizer.ggml.merges", {"a b"}}, {"tokenizer.ggml.bos_token_id", 258}};
}

std::string error_with(const std::string& key, const Json& value) {
  Json json = metadata("gpt-2");
  json[key] = value;
  return input_error([&] { (void)tokenizer_from_gguf(json); });
}

/// Ids of a text where "11" is token 260: two ones merge unless the pre-tokenizer parts them.
Ids digit_pairs(const std::string& pre, const std::string& text) {
  Json json = metadata(pre);
  json["tokenizer.ggml.tokens"][260] = "11";
  json["tokenizer.ggml.merges"].push_back("1 1");
  return tokenizer_from_gguf(json)->encode(text).ids;
}

TEST(TokenizerGguf, TokensByType) {
  const auto tokenizer = tokenizer_from_gguf(metadata("gpt-2"));
  EXPECT_EQ(tokenizer->encode("ab<s>c<t>").ids, (Ids{256, 258, 'c', 259}));
  EXPECT_EQ(tokenizer->encode("<u>").ids, (Ids{'<', 'u', '>'}));
  EXPECT_EQ(tokenizer->special_tokens(), (Ids{258, 260}));
  EXPECT_EQ(tokenizer->vocab_size(), 261);
  EXPECT_EQ(tokenizer->decode({256, 258, 259, 0xC3}), "ab<s><t>\xC3");
}

// How the published tokenizers split digits: gpt-2 never, smollm and qwen2 one by one, llama-bpe
// three by three from the left; `default` threes as well.
TEST(TokenizerGguf, PreTokenizersSplitDigitsAsPublished) {
  EXPECT_EQ(digit_pairs("gpt-2", "1111"), (Ids{260, 260}));
  EXPECT_EQ(digit_pairs("smollm", "1111"), (Ids{'1', '1', '1', '1'}));
  EXPECT_EQ(digit_pairs("qwen2", "1111"), (Ids{'1', '1', '1', '1'}));
  EXPECT_EQ(digit_pairs("tekken", "1111"), (Ids{'1', '1', '1', '1'}));
  EXPECT_EQ(digit_pairs("llama-bpe", "1111"), (Ids{260, '1', '1'}));
  EXPECT_EQ(digit_pairs("default", "1111"), (Ids{260, '1', '1'}));
}

TEST(TokenizerGguf, LlamaTakesWholePiecesAndStartsWithBos) {
  Json json = metadata("llama-bpe");
  json["tokenizer.ggml.tokens"][257] = "xyz";
  const auto tokenizer = tokenizer_from_gguf(json);
  EXPECT_EQ(tokenizer->encode("xyz").ids, (Ids{257})) << "no merge makes it";
  EXPECT_EQ(tokenizer->prefix(), (Ids{258}));
}

TEST(TokenizerGguf, QwenNormalisesToNfc) {
  EXPECT_EQ(tokenizer_from_gguf(metadata("qwen2"))->encode("e\u0301").ids, (Ids{0xC3, 0xA9}));
  EXPECT_EQ(tokenizer_from_gguf(metadata("gpt-2"))->encode("e\u0301").ids, (Ids{'e', 0xCC, 0x81}));
}

TEST(TokenizerGguf, TheNeoXFamilyNormalisesToNfc) {
  EXPECT_EQ(tokenizer_from_gguf(metadata("olmo"))->encode("e\u0301").ids, (Ids{0xC3, 0xA9}));
}

TEST(TokenizerGguf, AddBosToken) {
  Json json = metadata("gpt-2");
  EXPECT_EQ(tokenizer_from_gguf(json)->prefix(), Ids{});
  EXPECT_EQ(tokenizer_from_gguf(json)->bos_token(), 258);
  json["tokenizer.ggml.add_bos_token"] = true;
  EXPECT_EQ(tokenizer_from_gguf(json)->prefix(), (Ids{258}));
  json.erase("tokenizer.ggml.bos_token_id");
  EXPECT_NE(input_error([&] { (void)tokenizer_from_gguf(json); }).find("bos_token_id"),
            std::string::npos);
  json["tokenizer.ggml.add_bos_token"] = false;
  EXPECT_EQ(tokenizer_from_gguf(json)->bos_token(), -1);
}

TEST(TokenizerGguf, PrefixSpace) {
  Json json = metadata("gpt-2");
  json["tokenizer.ggml.add_space_prefix"] = true;
  EXPECT_EQ(tokenizer_from_gguf(json)->encode("ab").ids, (Ids{' ', 256}));
}

TEST(TokenizerGguf, TypesMayBeMissing) {
  Json json = metadata("gpt-2");
  json.erase("tokenizer.ggml.token_type");
  const auto tokenizer = tokenizer_from_gguf(json);
  EXPECT_EQ(tokenizer->encode("<s>").ids, (Ids{'<', 's', '>'}));
  EXPECT_EQ(tokenizer->special_tokens(), (Ids{258})) << "bos_token_id names it";
}

TEST(TokenizerGguf, UnsupportedKindsAreNamed) {
  EXPECT_NE(error_with("tokenizer.ggml.model", "bert").find("'bert'"), std::string::npos);
  EXPECT_NE(error_with("tokenizer.ggml.pre", "no-such").find("'no-such'"), std::string::npos);
  EXPECT_NE(error_with("tokenizer.ggml.add_eos_token", true).find("add_eos_token"),
            std::string::npos);
}

TEST(TokenizerGguf, MissingKeysAreNamed) {
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                          "tokenizer.ggml.merges"}) {
    Json json = metadata("gpt-2");
    json.erase(key);
    EXPECT_NE(input_error([&] { (void)tokenizer_from_gguf(json); }).find(key), std::string::npos);
  }
  EXPECT_FALSE(input_error([] { (void)tokenizer_from_gguf(nullptr); }).empty());
}

TEST(TokenizerGguf, DamagedValuesAreNamed) {
  const std::string ggml = "tokenizer.ggml.";
  for (const char* key : {"model", "pre", "tokens", "token_type", "merges", "bos_token_id",
                          "add_bos_token", "eos_token_id", "add_space_prefix"}) {
    EXPECT_NE(error_with(ggml + key, 1.5).find(ggml + key), std::string::npos) << key;
  }
  EXPECT_NE(error_with(ggml + "bos_token_id", 261).find("261"), std::string::npos);
  EXPECT_NE(error_with(ggml + "eos_token_id", -1).find("eos_token_id"), std::string::npos);
  EXPECT_NE(error_with(ggml + "token_type", {1, 1}).find("token_type"), std::string::npos);
  EXPECT_NE(error_with(ggml + "tokens", Json::array()).find("token"), std::string::npos);
  EXPECT_NE(error_with(ggml + "merges", {"ab"}).find("merges[0]"), std::string::npos);
  EXPECT_NE(error_with(ggml + "merges", {"a "}).find("merges[0]"), std::string::npos);
  EXPECT_NE(error_with(ggml + "merges", {""}).find("merges[0]"), std::string::npos);
  EXPECT_NE(error_with(ggml + "merges", {7}).find("merges[0]"), std::string::npos);
  EXPECT_NE(error_with(ggml + "merges", {"a z"}).find("'az'"), std::string::npos);
  EXPECT_NE(error_with(ggml + "merges", {"\xFF z"}).find(R"('\xFF')"), std::string::npos);
}

TEST(TokenizerGguf, DamagedTokensAreNamed) {
  Json json = metadata("gpt-2");
  json["tokenizer.ggml.tokens"][257] = "ab";
  EXPECT_NE(input_error([&] { (void)tokenizer_from_gguf(json); }).find("256 and 257"),
            std::string::npos);
  json = metadata("gpt-2");
  json["tokenizer.ggml.tokens"][258] = "\xFF";
  EXPECT_NE(input_error([&] { (void)tokenizer_from_gguf(json); }).find("258"), std::string::npos);
  json = metadata("gpt-2");
  json["tokenizer.ggml.token_type"][3] = 9;
  EXPECT_NE(input_error([&] { (void)tokenizer_from_gguf(json); }).find("token_type[3]"),
            std::string::npos);
}

}  // namespace
}  // namespace mechsweep
