#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "model/tokenizer.h"

namespace mechsweep {

/// Hash of texts that also takes views of them.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
/// Ids of a vocabulary by token; unique, >= 0.
using TokenIds = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

/// The id of a token, or -1.
inline int32_t find_token(const TokenIds& ids, std::string_view token) {
  auto found = ids.find(token);
  return found == ids.end() ? -1 : found->second;
}

/// The token that stands for a byte where the vocabulary has none for its character: "<0x0A>".
std::string byte_token(uint8_t byte);

/// Cuts one piece of text into tokens.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  /// Appends the tokens of `piece` (valid UTF-8), with spans of bytes of `piece`. Throws
  /// Error{input} naming what the vocabulary has no token for.
  virtual void encode(std::string_view piece, Encoding& out) const = 0;
};

}  // namespace mechsweep
