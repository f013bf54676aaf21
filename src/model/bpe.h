#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "model/token_model.h"

namespace mechsweep {

/// The printable character, as UTF-8, that stands for a byte in byte-level vocabularies (Radford
/// et al. 2019, encoder.py): printable Latin-1 stands for itself, the rest for U+0100 and on.
const std::string& byte_symbol(uint8_t byte);
/// The bytes that a vocabulary entry stands for, or nothing when it has a character that stands
/// for no byte.
std::optional<std::string> bytes_of_symbols(std::string_view token);

/// What byte-pair encoding is made of.
struct BpeData {
  TokenIds ids;            ///< in byte symbols where byte_level, else in plain text
  bool byte_level = true;  ///< merging starts from bytes, else from characters
  std::vector<std::pair<std::string, std::string>> merges;  ///< best first
  /// Instead of merges: by id, how soon neighbours that together read like the token are merged
  /// (lower is sooner, -1 never); of equal ones those with the longer left part first.
  std::vector<int32_t> ranks;
  bool ignore_merges = false;  ///< a piece that is a vocabulary entry is that entry
  bool byte_fallback = false;  ///< characters without a token become byte tokens (byte_token)
  std::optional<int32_t> unknown_token;  ///< for bytes or characters without a token
  bool fuse_unknown = false;             ///< unknown ones in a row make one token
};

/// Byte-pair encoding of one pre-tokenised piece (Sennrich et al. 2016, algorithm 1) in
/// O(n log n): of all neighbouring pairs the one that was learnt first is merged, leftmost first.
class BytePairEncoder final : public TokenModel {
 public:
  /// Throws Error{input} when a merge names a token that is missing or stands twice, or when a
  /// byte token is missing.
  explicit BytePairEncoder(BpeData data);

  void encode(std::string_view piece, Encoding& out) const override;

 private:
  struct Merge {
    uint64_t rank = 0;
    int32_t id = 0;
  };
  struct Symbol;
  using Symbols = std::vector<Symbol>;

  void add_symbols();
  void add_merges(const std::vector<std::pair<std::string, std::string>>& merges);
  void find_joints();
  [[nodiscard]] std::optional<Merge> find_merge(std::string_view piece, const Symbols& symbols,
                                                int32_t left) const;
  [[nodiscard]] size_t next_cut(std::string_view piece, size_t from) const;
  void add_symbol(int32_t id, Span bytes, Symbols& symbols) const;
  void add_bytes(std::string_view piece, Symbols& symbols) const;
  void add_characters(std::string_view piece, Symbols& symbols) const;
  void merge_all(std::string_view piece, Symbols& symbols) const;
  void encode_part(std::string_view part, int32_t offset, Encoding& out) const;

  BpeData data_;
  std::array<int32_t, 256> byte_ids_{};  ///< of byte symbols or byte tokens
  std::unordered_map<char32_t, int32_t> character_ids_;
  std::unordered_map<uint64_t, Merge> merges_;  ///< by left id << 32 | right id
  size_t longest_token_ = 0;
  /// Characters that some token has before the sign for a space. Behind all others nothing is
  /// merged across that sign, so that pieces can be cut there.
  std::unordered_set<char32_t> before_space_;
};

}  // namespace mechsweep
