#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "model/split_regex.h"

namespace mechsweep {

/// Every match in a token becomes `content`.
struct ReplaceInToken {
  SplitRegex pattern;
  std::string content;
};
/// Byte tokens ("<0x0A>") become their bytes.
struct BytesOfTokens {};
/// All tokens become one.
struct FuseTokens {};
/// Up to `start` of the character go from the front of every token, up to `stop` from its end.
struct StripFromToken {
  std::string content;
  size_t start = 0;
  size_t stop = 0;
};
/// The sign for a space becomes one; in the first token, where the text got a space in front, it
/// goes.
struct MetaspaceToSpace {
  std::string replacement;
  bool prepended = true;
};

/// Tokens back to text, step by step, as tokenizer.json names the steps.
struct TokenDecoder {
  std::vector<
      std::variant<ReplaceInToken, BytesOfTokens, FuseTokens, StripFromToken, MetaspaceToSpace>>
      steps;
  std::string separator;  ///< between the tokens that are left in the end

  [[nodiscard]] std::string decode(std::vector<std::string> tokens) const;
};

}  // namespace mechsweep
