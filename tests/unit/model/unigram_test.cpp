#include "model/unigram.h"

#include <random>

#include "tokenizer_files.h"

namespace mechsweep {
namespace {

using Ids = std::vector<int32_t>;

Encoding encode(const UnigramData& data, const std::string& piece) {
  Encoding encoding;
  UnigramEncoder(data).encode(piece, encoding);
  return encoding;
}

/// The vocabulary in the documentation of the reference.
UnigramData published() {
  return {{{"<unk>", 0.0},
           {"a", 0.0},
           {"b", 0.0},
           {"c", 0.0},
           {"d", 0.0},
           {"cd", 1.0},
           {"ab", 2.0},
           {"abc", 5.0},
           {"abcd", 10.0}},
          0,
          false};
}

TEST(Unigram, PublishedExample) {
  const Encoding encoding = encode(published(), "abcdacdxx");
  EXPECT_EQ(encoding.ids, (Ids{8, 1, 5, 0}));
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 4}, {4, 5}, {5, 7}, {7, 9}}));
}

TEST(Unigram, WithoutAnUnknownTokenTheCharacterIsNamed) {
  UnigramData data = published();
  data.unknown_token.reset();
  EXPECT_EQ(encode(data, "abc").ids, (Ids{7}));
  EXPECT_NE(input_error([&] { encode(data, "ab日"); }).find("'日'"), std::string::npos);
}

TEST(Unigram, ByteFallback) {
  UnigramData data = published();
  for (int byte = 0; byte < 256; ++byte) {
    data.pieces.emplace_back(byte_token(static_cast<uint8_t>(byte)), -5.0);
  }
  data.byte_fallback = true;
  const Encoding encoding = encode(data, "aéxb");
  EXPECT_EQ(encoding.ids, (Ids{1, 9 + 0xC3, 9 + 0xA9, 9 + 'x', 2}));
  // As in the reference, all bytes of a run have the whole run.
  EXPECT_EQ(encoding.bytes, (std::vector<Span>{{0, 1}, {1, 4}, {1, 4}, {1, 4}, {4, 5}}));
  data.pieces.pop_back();
  EXPECT_NE(input_error([&] { encode(data, "a"); }).find("<0xFF>"), std::string::npos);
}

double best_score(const UnigramData& data, const std::string& piece, size_t from) {
  if (from == piece.size()) return 0;
  double best = -1e300;
  for (const auto& [token, score] : data.pieces) {
    if (piece.compare(from, token.size(), token) != 0) continue;
    best = std::max(best, score + best_score(data, piece, from + token.size()));
  }
  return best;
}

// The definition: of all ways to cut the piece, one of the best sum of scores.
TEST(Unigram, AgreesWithTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 30; ++round) {
    UnigramData data;
    for (const char* letter : {"a", "b", "c"}) {
      data.pieces.emplace_back(letter, -1.0 - static_cast<double>(random() % 50));
    }
    while (data.pieces.size() < 15) {
      std::string token(random() % 4 + 2, 'a');
      for (char& c : token) c = static_cast<char>('a' + random() % 3);
      const bool known = std::any_of(data.pieces.begin(), data.pieces.end(),
                                     [&](const auto& piece) { return piece.first == token; });
      if (!known) data.pieces.emplace_back(token, -1.0 - static_cast<double>(random() % 80));
    }
    std::string piece(9, 'a');
    for (char& c : piece) c = static_cast<char>('a' + random() % 3);
    double score = 0;
    for (const int32_t id : encode(data, piece).ids) {
      score += data.pieces[static_cast<size_t>(id)].second;
    }
    EXPECT_DOUBLE_EQ(score, best_score(data, piece, 0)) << piece;
  }
}

TEST(Unigram, RefusesDamage) {
  UnigramData data = published();
  data.unknown_token = 9;
  EXPECT_NE(input_error([&] { encode(data, "a"); }).find("id 9"), std::string::npos);
  data = published();
  data.pieces.emplace_back("ab", 0.0);
  EXPECT_NE(input_error([&] { encode(data, "a"); }).find("'ab' twice"), std::string::npos);
  data = published();
  data.pieces[3].first = "\xFF";
  EXPECT_NE(input_error([&] { encode(data, "a"); }).find("id 3"), std::string::npos);
}

TEST(ByteTrie, FindsAllPrefixes) {
  const ByteTrie trie({{"b", 1}, {"abc", 2}, {"a", 3}, {"ab\xFF", 4}, {"ab", 5}});
  auto found = [&](std::string_view text) {
    std::vector<std::pair<size_t, int32_t>> result;
    trie.visit_prefixes(text,
                        [&](size_t length, int32_t value) { result.emplace_back(length, value); });
    return result;
  };
  using Found = std::vector<std::pair<size_t, int32_t>>;
  EXPECT_EQ(found("abcd"), (Found{{1, 3}, {2, 5}, {3, 2}}));
  EXPECT_EQ(found("ab\xFF"), (Found{{1, 3}, {2, 5}, {3, 4}}));
  EXPECT_EQ(found("ba"), (Found{{1, 1}}));
  EXPECT_EQ(found("cab"), Found{});
  EXPECT_EQ(found(""), Found{});
  ByteTrie().visit_prefixes("a", [](size_t, int32_t) { FAIL(); });
}

}  // namespace
}  // namespace mechsweep
