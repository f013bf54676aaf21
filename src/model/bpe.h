#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/tokenizer.h"

namespace mechsweep {

/// The printable character, as UTF-8, that stands for a byte in byte-level vocabularies (Radford
/// et al. 2019, encoder.py): printable Latin-1 stands for itself, the rest for U+0100 and on.
const std::string& byte_symbol(uint8_t byte);
/// The bytes that a vocabulary entry stands for, or nothing when it has a character that stands
/// for no byte.
std::optional<std::string> bytes_of_symbols(std::string_view token);

/// What byte-level BPE is made of.
struct BpeData {
  std::unordered_map<std::string, int32_t> ids;  ///< in byte symbols; ids are unique, >= 0
  std::vector<std::pair<std::string, std::string>> merges;  ///< best first
  bool ignore_merges = false;            ///< a piece that is a vocabulary entry is that entry
  std::optional<int32_t> unknown_token;  ///< for bytes without a symbol in the vocabulary
  bool fuse_unknown = false;             ///< unknown bytes in a row make one token
};

/// Byte-pair encoding of one pre-tokenised piece (Sennrich et al. 2016, algorithm 1) in
/// O(n log n): of all neighbouring pairs the one that was learnt first is merged, leftmost first.
class BytePairEncoder {
 public:
  /// Throws Error{input} when a merge names a token that is missing or stands twice.
  explicit BytePairEncoder(BpeData data);

  /// Appends the tokens of `piece`, with spans of bytes of `piece`. Throws Error{input} naming a
  /// byte that the vocabulary has no token for.
  void encode(std::string_view piece, Encoding& out) const;

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t id = 0;
  };
  struct Symbol;

  void add_merges(const std::vector<std::pair<std::string, std::string>>& merges);
  [[nodiscard]] const Merge* find_merge(const std::vector<Symbol>& symbols, int32_t left) const;
  [[nodiscard]] std::vector<Symbol> byte_symbols(std::string_view piece) const;
  void merge_all(std::vector<Symbol>& symbols) const;

  BpeData data_;
  std::array<int32_t, 256> byte_ids_{};
  std::unordered_map<uint64_t, Merge> merges_;  ///< by left id << 32 | right id
};

}  // namespace mechsweep
