#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer.h"

namespace mechsweep {

/// A regular expression of a tokenizer file. Those are written for Oniguruma in Ruby's syntax; it
/// runs here on PCRE2, after the few constructs that the two read differently were rewritten.
class SplitRegex {
 public:
  /// Throws Error{input} naming the pattern when it is damaged or uses a construct that cannot be
  /// carried over exactly.
  static SplitRegex from_pattern(std::string_view oniguruma);
  /// Matches exactly this text; throws Error{input} when it is empty or not valid UTF-8.
  static SplitRegex from_literal(std::string_view text);

  /// All matches in valid UTF-8, left to right. An empty match counts unless it touches the match
  /// before it. Throws Error{input} when the pattern backtracks beyond all measure.
  [[nodiscard]] std::vector<Span> find_all(std::string_view text) const;

 private:
  SplitRegex() = default;

  std::string name_;            ///< the pattern as it was given, for messages
  std::shared_ptr<void> code_;  ///< pcre2_code, which threads may share; null: name_ as it is
};

/// The PCRE2 pattern that matches what an Oniguruma pattern does; throws like from_pattern.
std::string pcre2_from_oniguruma(std::string_view pattern);

}  // namespace mechsweep
