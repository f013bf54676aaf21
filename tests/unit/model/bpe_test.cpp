#include "model/bpe.h"

#include <random>

#include "tokenizer_files.h"

namespace mechsweep {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

/// Letters a to d as ids 0 to 3, then what the merges make, in order.
BpeData letters(Merges merges) {
  BpeData data;
  data.ids = {{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}};
  for (const auto& [left, right] : merges) {
    data.ids.emplace(left + right, static_cast<int32_t>(data.ids.size()));
  }
  data.merges = std::move(merges);
  return data;
}

Encoding encode(const BpeData& data, const std::string& piece) {
  Encoding encoding;
  BytePairEncoder(data).encode(piece, encoding);
  return encoding;
}

/// The definition (Sennrich et al. 2016): again and again, merge the leftmost pair that was learnt
/// first.
std::vector<int32_t> merge_by_definition(const BpeData& data, const std::string& piece) {
  std::vector<std::string> symbols;
  for (char c : piece) symbols.emplace_back(1, c);
  while (true) {
    size_t best_rank = data.merges.size();
    size_t best = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (data.merges[rank] != std::pair(symbols[i], symbols[i + 1])) continue;
        best_rank = rank;
        best = i;
      }
    }
    if (best_rank == data.merges.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<int64_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& symbol : symbols) ids.push_back(data.ids.at(symbol));
  return ids;
}

// Rows of the published table (encoder.py of GPT-2): "Ġ" is the space, "Ċ" the line feed.
TEST(ByteAlphabet, PublishedSymbols) {
  EXPECT_EQ(byte_symbol(' '), "Ġ");
  EXPECT_EQ(byte_symbol('\n'), "Ċ");
  EXPECT_EQ(byte_symbol(0x00), "Ā");
  EXPECT_EQ(byte_symbol('A'), "A");
  EXPECT_EQ(byte_symbol(0xC3), "Ã");
  EXPECT_EQ(byte_symbol(0x7F), "ġ");
  EXPECT_EQ(byte_symbol(0xA0), "ł");
  EXPECT_EQ(byte_symbol(0xAD), "Ń");
  EXPECT_EQ(bytes_of_symbols("Ġhi"), " hi");
  EXPECT_EQ(bytes_of_symbols("a b"), std::nullopt) << "a space is no byte symbol";
  EXPECT_EQ(bytes_of_symbols("語"), std::nullopt);
  EXPECT_EQ(bytes_of_symbols("\xFF"), std::nullopt);
}

TEST(ByteAlphabet, EveryByteHasItsOwnSymbol) {
  std::unordered_map<std::string, int> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string& symbol = byte_symbol(static_cast<uint8_t>(byte));
    EXPECT_TRUE(seen.emplace(symbol, byte).second);
    EXPECT_EQ(bytes_of_symbols(symbol), std::string(1, static_cast<char>(byte)));
  }
}

TEST(BytePairEncoder, EarlierMergesGoFirst) {
  const BpeData data = letters({{"b", "c"}, {"a", "b"}, {"a", "bc"}});
  EXPECT_EQ(encode(data, "abc").ids, (std::vector<int32_t>{6}));
  EXPECT_EQ(encode(data, "abd").ids, (std::vector<int32_t>{5, 3}));
}

TEST(BytePairEncoder, LeftmostOfEqualPairsGoesFirst) {
  const Encoding encoding = encode(letters({{"a", "a"}}), "aaa");
  EXPECT_EQ(encoding.ids, (std::vector<int32_t>{4, 0}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 2}, {2, 3}}));
}

TEST(BytePairEncoder, AgreesWithTheDefinition) {
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    // Random merges among what there is, as training would make them.
    std::vector<std::string> tokens{"a", "b", "c", "d"};
    Merges merges;
    for (int i = 0; i < 12; ++i) {
      const std::string left = tokens[random() % tokens.size()];
      const std::string right = tokens[random() % tokens.size()];
      if (std::find(tokens.begin(), tokens.end(), left + right) != tokens.end()) continue;
      tokens.push_back(left + right);
      merges.emplace_back(left, right);
    }
    const BpeData data = letters(merges);
    for (int i = 0; i < 25; ++i) {
      std::string piece(random() % 40 + 1, 'a');
      for (char& c : piece) c = static_cast<char>('a' + random() % 4);
      EXPECT_EQ(encode(data, piece).ids, merge_by_definition(data, piece)) << piece;
    }
  }
}

TEST(BytePairEncoder, LongPiecesAreNotQuadratic) {
  const Encoding encoding = encode(letters({{"a", "a"}, {"aa", "aa"}}), std::string(400001, 'a'));
  EXPECT_EQ(encoding.ids.size(), 100001U);
  EXPECT_EQ(encoding.bytes.back(), (Span{400000, 400001}));
}

TEST(BytePairEncoder, IgnoreMergesTakesWholePieces) {
  BpeData data = letters({{"a", "b"}, {"c", "d"}});
  data.ids["abcd"] = 9;
  EXPECT_EQ(encode(data, "abcd").ids, (std::vector<int32_t>{4, 5}));
  data.ignore_merges = true;
  const Encoding encoding = encode(data, "abcd");
  EXPECT_EQ(encoding.ids, (std::vector<int32_t>{9}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 4}}));
  EXPECT_EQ(encode(data, "abc").ids, (std::vector<int32_t>{4, 2}));
}

TEST(BytePairEncoder, UnknownBytes) {
  BpeData data = letters({{"a", "b"}});
  EXPECT_NE(input_error([&] { encode(data, "abz"); }).find("0x7A"), std::string::npos);
  data.unknown_token = 3;
  EXPECT_EQ(encode(data, "xyab").ids, (std::vector<int32_t>{3, 3, 4}));
  data.fuse_unknown = true;
  const Encoding encoding = encode(data, "xyab");
  EXPECT_EQ(encoding.ids, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 2}, {2, 4}}));
}

TEST(BytePairEncoder, RefusesMergesThatDoNotFit) {
  BpeData missing = letters({});
  missing.merges = {{"a", "b"}};
  EXPECT_NE(input_error([&] { BytePairEncoder encoder(missing); }).find("'ab'"), std::string::npos);
  missing.merges = {{"q", "a"}};
  EXPECT_NE(input_error([&] { BytePairEncoder encoder(missing); }).find("'q'"), std::string::npos);
  BpeData twice = letters({{"a", "b"}});
  twice.merges.emplace_back("a", "b");
  EXPECT_NE(input_error([&] { BytePairEncoder encoder(twice); }).find("twice"), std::string::npos);
}

}  // namespace
}  // namespace mechsweep
