// Byte-pair encoding that starts from characters, as SentencePiece's does.
#include <random>

#include "tokenizer_files.h"

namespace mechsweep {
namespace {

using Ids = std::vector<int32_t>;
using Texts = std::vector<std::string>;

BpeData characters(const Texts& tokens) {
  BpeData data;
  data.byte_level = false;
  for (const std::string& token : tokens) {
    data.ids.emplace(token, static_cast<int32_t>(data.ids.size()));
  }
  return data;
}

BpeData with_byte_tokens(BpeData data) {
  for (int byte = 0; byte < 256; ++byte) {
    data.ids.emplace(byte_token(static_cast<uint8_t>(byte)), 1000 + byte);
  }
  data.byte_fallback = true;
  return data;
}

Encoding encode(const BpeData& data, const std::string& piece) {
  Encoding encoding;
  BytePairEncoder(data).encode(piece, encoding);
  return encoding;
}

TEST(BpeOfCharacters, MergesCharacters) {
  BpeData data = characters({"é", "日", "é日", "a"});
  data.merges = {{"é", "日"}};
  const Encoding encoding = encode(data, "aé日é");
  EXPECT_EQ(encoding.ids, (Ids{3, 2, 0}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 1}, {1, 6}, {6, 8}}));
}

TEST(BpeOfCharacters, BytesStandForUnknownCharacters) {
  const BpeData data = with_byte_tokens(characters({"a"}));
  const Encoding encoding = encode(data, "aéa");
  EXPECT_EQ(encoding.ids, (Ids{0, 1000 + 0xC3, 1000 + 0xA9, 0}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 1}, {1, 2}, {2, 3}, {3, 4}}));
  BpeData damaged = data;
  damaged.ids.erase("<0x7F>");
  EXPECT_NE(input_error([&] { encode(damaged, "a"); }).find("<0x7F>"), std::string::npos);
}

TEST(BpeOfCharacters, UnknownCharacters) {
  BpeData data = characters({"a", "?"});
  EXPECT_NE(input_error([&] { encode(data, "a日"); }).find("'日'"), std::string::npos);
  data.unknown_token = 1;
  EXPECT_EQ(encode(data, "日éa日").ids, (Ids{1, 1, 0, 1}));
  data.fuse_unknown = true;
  const Encoding encoding = encode(data, "日éa日");
  EXPECT_EQ(encoding.ids, (Ids{1, 0, 1}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 5}, {5, 6}, {6, 9}}));
}

TEST(BpeOfCharacters, WholePiecesWithoutMerges) {
  BpeData data = characters({"a", "日", "a日a"});
  EXPECT_EQ(encode(data, "a日a").ids, (Ids{0, 1, 0}));
  data.ignore_merges = true;
  EXPECT_EQ(encode(data, "a日a").ids, (Ids{2}));
}

TEST(BpeOfCharacters, RanksInsteadOfMerges) {
  BpeData data = characters({"a", "b", "c", "ab", "bc", "abc"});
  data.ranks = {-1, -1, -1, 1, 0, 2};  // bc is merged before ab
  EXPECT_EQ(encode(data, "abc").ids, (Ids{5}));
  EXPECT_EQ(encode(data, "abcab").ids, (Ids{5, 3}));
  data.ranks[5] = -1;
  EXPECT_EQ(encode(data, "abc").ids, (Ids{0, 4})) << "never made";
}

/// Tokens over a few letters and the sign for a space, every one of two shorter ones.
Texts random_tokens(std::mt19937& random) {
  Texts tokens{"a", "b", "▁"};
  while (tokens.size() < 14) {
    const std::string whole = tokens[random() % tokens.size()] + tokens[random() % tokens.size()];
    if (std::find(tokens.begin(), tokens.end(), whole) == tokens.end()) tokens.push_back(whole);
  }
  return tokens;
}

/// The definition for ranks: again and again the pair of the best rank, of equal ones that with
/// the longer left part, of those the leftmost.
Ids merge_by_definition(const Texts& tokens, const BpeData& data, Texts symbols) {
  while (true) {
    std::tuple<int32_t, int64_t, size_t> best{INT32_MAX, 0, 0};
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = data.ids.find(symbols[i] + symbols[i + 1]);
      if (found == data.ids.end()) continue;
      const int32_t rank = data.ranks[static_cast<size_t>(found->second)];
      best = std::min(best, {rank, -static_cast<int64_t>(symbols[i].size()), i});
    }
    if (std::get<0>(best) == INT32_MAX) break;
    const size_t at = std::get<2>(best);
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<int64_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols) {
    ids.push_back(
        static_cast<int32_t>(std::find(tokens.begin(), tokens.end(), symbol) - tokens.begin()));
  }
  return ids;
}

// Pieces are cut before signs for spaces wherever no token reaches across; that must not show.
TEST(BpeOfCharacters, RanksAgreeWithTheDefinition) {
  std::mt19937 random(17);
  for (int round = 0; round < 60; ++round) {
    const Texts tokens = random_tokens(random);
    BpeData data = characters(tokens);
    for (size_t i = 0; i < tokens.size(); ++i) {
      data.ranks.push_back(static_cast<int32_t>(random() % 20));
    }
    for (int i = 0; i < 25; ++i) {
      Texts symbols;
      std::string piece;
      for (size_t length = random() % 30 + 1; length > 0; --length) {
        symbols.push_back(tokens[random() % 3]);
        piece += symbols.back();
      }
      EXPECT_EQ(encode(data, piece).ids, merge_by_definition(tokens, data, symbols)) << piece;
    }
  }
}

TEST(BpeOfCharacters, LongPiecesAreNotQuadratic) {
  BpeData data = characters({"a", "aa", "aaaa"});
  data.ranks = {-1, 0, 1};
  EXPECT_EQ(encode(data, std::string(400001, 'a')).ids.size(), 100001U);
}

}  // namespace
}  // namespace mechsweep
