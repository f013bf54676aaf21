// SentencePiece's BPE as GGUF files hold it, against SentencePiece itself.
#include "tokenizer_files.h"

namespace mechsweep {
namespace {

using Ids = std::vector<int32_t>;

class ScoredBpe : public testing::Test {
 protected:
  ScoredBpe() : golden_(golden_json("tokenizer_scored_bpe.json")) {
    metadata_ = {{"tokenizer.ggml.model", "llama"},
                 {"tokenizer.ggml.tokens", golden_.at("tokens")},
                 {"tokenizer.ggml.scores", golden_.at("scores")},
                 {"tokenizer.ggml.token_type", golden_.at("types")},
                 {"tokenizer.ggml.bos_token_id", 1},
                 {"tokenizer.ggml.unknown_token_id", 0}};
  }

  [[nodiscard]] std::unique_ptr<Tokenizer> with(const std::string& key, const Json& value) const {
    Json metadata = metadata_;
    metadata["tokenizer.ggml." + key] = value;
    return tokenizer_from_gguf(metadata);
  }
  [[nodiscard]] size_t place_of(const std::string& token) const {
    const Json& tokens = golden_.at("tokens");
    return static_cast<size_t>(std::find(tokens.begin(), tokens.end(), Json(token)) -
                               tokens.begin());
  }
  void expect_refused(const std::string& key, const Json& value) const {
    const std::string message = input_error([&] { (void)with(key, value); });
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }

  Json golden_;
  Json metadata_;
};

TEST_F(ScoredBpe, IdsOfSentencePiece) {
  const auto tokenizer = with("add_space_prefix", false);
  ASSERT_GE(golden_.at("cases").size(), 80U);
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    EXPECT_EQ(tokenizer->encode(text).ids, item.at("ids").get<Ids>()) << text;
    EXPECT_EQ(tokenizer->decode(item.at("ids").get<Ids>()), text);
  }
}

TEST_F(ScoredBpe, IdsOfSentencePieceWithASpaceInFront) {
  const auto tokenizer = tokenizer_from_gguf(metadata_);  // what holds where the file says nothing
  int compared = 0;
  for (const Json& item : golden_.at("cases")) {
    if (!item.contains("prefixed")) continue;
    const auto text = item.at("text").get<std::string>();
    EXPECT_EQ(tokenizer->encode(text).ids, item.at("prefixed").get<Ids>()) << text;
    EXPECT_EQ(tokenizer->decode(item.at("prefixed").get<Ids>()), text);
    ++compared;
  }
  EXPECT_GE(compared, 70);
}

TEST_F(ScoredBpe, SpansCoverTheText) {
  const auto tokenizer = tokenizer_from_gguf(metadata_);
  for (const Json& item : golden_.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    int32_t end = 0;
    for (const Span& span : tokenizer->encode(text).bytes) {
      EXPECT_EQ(span.begin, end) << text;
      end = span.end;
    }
    EXPECT_EQ(end, static_cast<int32_t>(text.size())) << text;
  }
}

TEST_F(ScoredBpe, ControlTokensAndBeginnings) {
  const auto tokenizer = tokenizer_from_gguf(metadata_);
  EXPECT_EQ(tokenizer->prefix(), (Ids{1}));
  EXPECT_EQ(tokenizer->bos_token(), 1);
  EXPECT_EQ(tokenizer->special_tokens(), (Ids{0, 1, 2}));
  EXPECT_EQ(tokenizer->encode("</s><pad>").ids, (Ids{2, 3}));
  EXPECT_EQ(with("add_bos_token", false)->prefix(), Ids{});
}

TEST_F(ScoredBpe, BytesAreNotWrittenOut) {
  const auto tokenizer = with("add_space_prefix", false);
  const auto line_feed = static_cast<int32_t>(place_of("<0x0A>"));
  EXPECT_EQ(tokenizer->encode("\n").ids, (Ids{line_feed}));
  EXPECT_EQ(tokenizer->encode("<0x0A>").ids.size(), 6U);
  EXPECT_EQ(tokenizer->decode({line_feed}), "\n");
}

TEST_F(ScoredBpe, RunsOfSpacesThatTheUserDefined) {
  Json metadata = metadata_;
  metadata["tokenizer.ggml.tokens"][3] = "  ";
  metadata["tokenizer.ggml.add_space_prefix"] = false;
  const auto tokenizer = tokenizer_from_gguf(metadata);
  EXPECT_EQ(tokenizer->encode("    ").ids, (Ids{3, 3}));
  EXPECT_EQ(tokenizer->encode("\u2581\u2581").ids, (Ids{3}));
  EXPECT_EQ(tokenizer->decode({3}), "  ");
}

TEST_F(ScoredBpe, DamageIsNamed) {
  expect_refused("scores", Json::array());
  expect_refused("scores", 3);
  Json scores = golden_.at("scores");
  scores[7] = "high";
  expect_refused("scores", scores);
  expect_refused("token_type", Json::array({1}));
  expect_refused("add_eos_token", true);
  expect_refused("unknown_token_id", 100000);
  expect_refused("precompiled_charsmap", Json::array());
  expect_refused("remove_extra_whitespaces", true);
  Json tokens = golden_.at("tokens");
  const size_t place = place_of("<0x0F>");
  tokens[place] = "<0xZZ>";
  EXPECT_NE(input_error([&] { (void)with("tokens", tokens); }).find("<0x0F>"), std::string::npos);
  tokens[place] = "\xFF";
  EXPECT_FALSE(input_error([&] { (void)with("tokens", tokens); }).empty());
}

}  // namespace
}  // namespace mechsweep
