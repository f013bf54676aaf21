#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/split_regex.h"
#include "model/tokenizer.h"

namespace mechsweep {

/// What becomes of the matches of a split pattern, as tokenizer.json names it.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

/// One `Split` step: cuts every piece at the matches of a pattern.
struct SplitStep {
  SplitRegex pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  ///< what lies between the matches counts as the match
};

/// Part of a text that BPE sees on its own.
struct Piece {
  Span bytes;
  bool space_before = false;  ///< as if a space stood before it; that space has no bytes
  bool operator==(const Piece&) const = default;
};

/// The pattern that GPT-2 splits words with (Radford et al. 2019, encoder.py).
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Cuts text into pieces: split steps in order, then what `ByteLevel` does.
struct Pretokenizer {
  std::vector<SplitStep> splits;
  bool add_prefix_space = false;  ///< to every piece so far that does not start with a space
  std::vector<SplitStep> byte_level_split;  ///< kGpt2Pattern, or empty for `use_regex: false`

  /// The pieces of valid UTF-8, in order, none empty. Throws Error{input} as SplitRegex does.
  [[nodiscard]] std::vector<Piece> split(std::string_view text) const;
};

/// One step applied to a text: the spans that are left, none empty.
std::vector<Span> apply_split(const SplitStep& step, std::string_view text);

}  // namespace mechsweep
