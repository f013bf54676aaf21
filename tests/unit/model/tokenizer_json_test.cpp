#include <functional>

#include "tokenizer_files.h"

namespace mechsweep {
namespace {

using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> make(const Json& json, const Json& config = nullptr) {
  return tokenizer_from_json(json, config);
}

Json with(const std::string& pointer, Json value) {
  Json json = small_tokenizer_json();
  json[Json::json_pointer(pointer)] = std::move(value);
  return json;
}

Json with_added(Json flags) {
  Json json = small_tokenizer_json();
  Json token = {{"id", 260}, {"content", "<u>"}};
  token.update(flags);
  json["added_tokens"].push_back(token);
  return json;
}

TEST(TokenizerJson, MergesAsPairsOrTexts) {
  const Ids expected{257, 256, 'a', 'c'};
  EXPECT_EQ(make(small_tokenizer_json())->encode("abcabac").ids, expected);
  EXPECT_EQ(make(with("/model/merges", {"a b", "ab c"}))->encode("abcabac").ids, expected);
}

TEST(TokenizerJson, ModelWithoutTypeIsBpe) {
  Json json = small_tokenizer_json();
  json["model"].erase("type");  // as in the published gpt2 file
  EXPECT_EQ(make(json)->encode("ab").ids, (Ids{256}));
}

TEST(TokenizerJson, AddedTokensAreFoundInTheText) {
  const Encoding encoding = make(small_tokenizer_json())->encode("ab<s>c<t>");
  EXPECT_EQ(encoding.ids, (Ids{256, 258, 'c', 259}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 2}, {2, 5}, {5, 6}, {6, 9}}));
}

TEST(TokenizerJson, LongestAddedTokenWins) {
  Json json = small_tokenizer_json();
  json["added_tokens"].push_back({{"id", 260}, {"content", "<s>c"}, {"normalized", false}});
  EXPECT_EQ(make(json)->encode("a<s>c<s>").ids, (Ids{'a', 260, 258}));
}

TEST(TokenizerJson, StrippingTokensTakeWhiteSpaceAlong) {
  const Encoding left = make(with_added({{"lstrip", true}}))->encode("a \t<u> b");
  EXPECT_EQ(left.ids, (Ids{'a', 260, ' ', 'b'}));
  EXPECT_EQ(left.bytes[1], (Span{1, 6}));
  const Encoding right = make(with_added({{"rstrip", true}}))->encode("a <u>\u00A0\nb");
  EXPECT_EQ(right.ids, (Ids{'a', ' ', 260, 'b'}));
  EXPECT_EQ(right.bytes[2], (Span{2, 8}));
}

TEST(TokenizerJson, SingleWordTokensStandAlone) {
  const auto tokenizer = make(with_added({{"single_word", true}, {"content", "xy"}}));
  EXPECT_EQ(tokenizer->encode("xy-xy").ids, (Ids{260, '-', 260}));
  EXPECT_EQ(tokenizer->encode("axy").ids, (Ids{'a', 'x', 'y'}));
  EXPECT_EQ(tokenizer->encode("xy_").ids, (Ids{'x', 'y', '_'}));
}

TEST(TokenizerJson, NfcKeepsSpansOfTheOriginal) {
  const Encoding encoding = make(with("/normalizer", {{"type", "NFC"}}))->encode("ae\u0301<s>b");
  EXPECT_EQ(encoding.ids, (Ids{'a', 0xC3, 0xA9, 258, 'b'}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 1}, {1, 4}, {1, 4}, {4, 7}, {7, 8}}));
}

TEST(TokenizerJson, PrefixSpaceHasNoBytes) {
  const Encoding encoding = make(with("/pre_tokenizer/add_prefix_space", true))->encode("ab<s>b");
  EXPECT_EQ(encoding.ids, (Ids{' ', 256, 258, ' ', 'b'}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 0}, {0, 2}, {2, 5}, {5, 5}, {5, 6}}));
}

TEST(TokenizerJson, PrefixFromTemplate) {
  const Json item = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  Json processor = {{"type", "TemplateProcessing"},
                    {"single", {item, text}},
                    {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {258}}}}}}};
  EXPECT_EQ(make(with("/post_processor", processor))->prefix(), (Ids{258}));
  const Json sequence = {{"type", "Sequence"},
                         {"processors", {{{"type", "ByteLevel"}}, processor}}};
  EXPECT_EQ(make(with("/post_processor", sequence))->prefix(), (Ids{258}));
  EXPECT_EQ(make(with("/post_processor", {{"type", "ByteLevel"}}))->prefix(), Ids{});
  processor["single"] = {text, item};
  EXPECT_NE(input_error([&] { make(with("/post_processor", processor)); }).find("after the text"),
            std::string::npos);
}

TEST(TokenizerJson, ConfigNamesTheBeginning) {
  EXPECT_EQ(make(small_tokenizer_json())->bos_token(), -1);
  const Json plain = {{"bos_token", "<t>"}, {"eos_token", "abc"}, {"unk_token", nullptr}};
  const auto tokenizer = make(small_tokenizer_json(), plain);
  EXPECT_EQ(tokenizer->bos_token(), 259);
  EXPECT_EQ(tokenizer->special_tokens(), (Ids{257, 258, 259}));
  EXPECT_EQ(tokenizer->prefix(), Ids{});
  const Json object = {{"bos_token", {{"content", "<s>"}}}, {"add_bos_token", true}};
  EXPECT_EQ(make(small_tokenizer_json(), object)->prefix(), (Ids{258}));
  EXPECT_FALSE(input_error([] { make(small_tokenizer_json(), {{"bos_token", "<?>"}}); }).empty());
  EXPECT_FALSE(input_error([] {
                 make(small_tokenizer_json(), {{"add_bos_token", true}});
               }).empty());
}

TEST(TokenizerJson, IdsWithoutATokenAreNeverDrawn) {
  const auto tokenizer = make(with_added({{"id", 262}}));
  EXPECT_EQ(tokenizer->vocab_size(), 263);
  EXPECT_EQ(tokenizer->special_tokens(), (Ids{258, 260, 261}));
  EXPECT_FALSE(input_error([&] { (void)tokenizer->decode({261}); }).empty());
}

TEST(TokenizerJson, DecodeKeepsBrokenCharacters) {
  const auto tokenizer = make(small_tokenizer_json());
  EXPECT_EQ(tokenizer->decode({257, 0xC3, 258, ' '}), "abc\xC3<s> ");
  EXPECT_EQ(tokenizer->decode({}), "");
  for (int32_t id : {-1, 260, 1 << 30}) {
    EXPECT_FALSE(input_error([&] { (void)tokenizer->decode({id}); }).empty()) << id;
  }
}

TEST(TokenizerJson, InvalidUtf8IsRefusedWithItsPlace) {
  const auto tokenizer = make(small_tokenizer_json());
  EXPECT_NE(input_error([&] { (void)tokenizer->encode("ab\x80"); }).find("byte offset 2"),
            std::string::npos);
  EXPECT_TRUE(tokenizer->encode("").ids.empty());
  EXPECT_EQ(tokenizer->encode(std::string(1, '\0')).ids, (Ids{0}));
}

struct Damage {
  const char* pointer;
  Json value;
  const char* named;  ///< what the message must name
};

TEST(TokenizerJson, UnsupportedOrDamagedValuesAreNamed) {
  const Json digits = {{"type", "Digits"}};
  const Json bytes = {{"type", "ByteLevel"}};
  const std::vector<Damage> damages{
      {"/model/type", "Unigram", "Unigram after a ByteLevel"},
      {"/model/type", "WordPiece", "'WordPiece'"},
      {"/model/byte_fallback", true, "byte_fallback"},
      {"/model/byte_fallback", "yes", "byte_fallback"},
      {"/model/dropout", 0.1, "dropout"},
      {"/model/end_of_word_suffix", "</w>", "end_of_word_suffix"},
      {"/model/unk_token", "<?>", "unk_token"},
      {"/model/vocab", Json::array(), "model.vocab"},
      {"/model/vocab", Json::object(), "empty"},
      {"/model/vocab/ab", "x", "'ab'"},
      {"/model/vocab/ab", -1, "out of range"},
      {"/model/vocab/ab", 1e9, "'ab'"},
      {"/model/vocab/ab", 2000000000, "'ab'"},
      {"/model/vocab/ab", 18446744073709551615ULL, "out of range"},
      {"/model/vocab/ab", 257, "257"},
      {"/model/merges", "a b", "model.merges"},
      {"/model/merges/1", "ab", "model.merges[1]"},
      {"/model/merges/1", "a b c", "model.merges[1]"},
      {"/model/merges/1", {"a", "b", "c"}, "model.merges[1]"},
      {"/model/merges/1", {"a", 3}, "model.merges[1]"},
      {"/model/merges/1", {"a", "z"}, "'az'"},
      {"/added_tokens", 3, "added_tokens"},
      {"/added_tokens/0", 3, "added_tokens[0]"},
      {"/added_tokens/0/content", "", "258"},
      {"/added_tokens/0/content", "<t>", "twice"},
      {"/added_tokens/0/content", "ab", "'ab'"},
      {"/added_tokens/0/id", 256, "256"},
      {"/added_tokens/0/id", nullptr, "added_tokens[0].id"},
      {"/added_tokens/0/lstrip", 1, "added_tokens[0].lstrip"},
      {"/normalizer", {{"type", "BertNormalizer"}}, "'BertNormalizer'"},
      {"/normalizer", "NFC", "normalizer"},
      {"/normalizer", {{"type", "Prepend"}}, "normalizer.prepend"},
      {"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}}, "base64"},
      {"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}, "replacements"},
      {"/normalizer",
       {{"type", "Replace"}, {"pattern", {{"Regex", "(a)"}}}, {"content", "$1"}},
       "normalizer.content"},
      {"/decoder", {{"type", "WordPiece"}}, "'WordPiece'"},
      {"/decoder", {{"type", "Strip"}, {"content", "ab"}}, "decoder.content"},
      {"/decoder", {{"type", "Sequence"}}, "decoder.decoders"},
      {"/pre_tokenizer", {{"type", "UnicodeScripts"}}, "'UnicodeScripts'"},
      {"/pre_tokenizer", {{"type", "Metaspace"}}, "pre_tokenizer.replacement"},
      {"/pre_tokenizer",
       {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "odd"}},
       "'odd'"},
      {"/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {bytes, digits}}}, "'Digits'"},
      {"/pre_tokenizer", {{"type", "Sequence"}}, "pretokenizers"},
      {"/pre_tokenizer", {{"type", "Split"}, {"behavior", "Isolated"}}, "pattern"},
      {"/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}}, "split pattern"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", "Odd"}},
       "'Odd'"},
      {"/post_processor", {{"type", "BertProcessing"}}, "'BertProcessing'"},
      {"/post_processor", {{"type", "TemplateProcessing"}}, "single"},
      {"/post_processor", {{"type", "TemplateProcessing"}, {"single", {1}}}, "single[0]"},
  };
  for (const Damage& damage : damages) {
    const std::string message = input_error([&] { make(with(damage.pointer, damage.value)); });
    EXPECT_NE(message.find(damage.named), std::string::npos)
        << damage.pointer << " = " << damage.value << ": " << message;
  }
}

TEST(TokenizerJson, MissingKeysAreNamed) {
  for (const char* key : {"model", "vocab", "merges"}) {
    Json json = small_tokenizer_json();
    (key == std::string("model") ? json : json["model"]).erase(key);
    EXPECT_NE(input_error([&] { make(json); }).find(key), std::string::npos);
  }
  for (const Json& json : {Json(nullptr), Json(1), Json("x"), Json::array(), Json::object()}) {
    EXPECT_FALSE(input_error([&] { make(json); }).empty());
  }
}

TEST(TokenizerJson, DeepNestingIsRefused) {
  Json stage = {{"type", "ByteLevel"}};
  for (int i = 0; i < 1000; ++i) {
    Json list = Json::array();
    list.push_back(std::move(stage));
    stage = Json::object({{"type", "Sequence"}, {"pretokenizers", std::move(list)}});
  }
  EXPECT_NE(input_error([&] { make(with("/pre_tokenizer", stage)); }).find("nested"),
            std::string::npos);
}

}  // namespace
}  // namespace mechsweep
