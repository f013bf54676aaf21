#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/split_regex.h"
#include "model/traced_text.h"

namespace mechsweep {

/// What becomes of the matches of a split pattern, as tokenizer.json names it.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

/// Cuts every piece at the matches of a pattern.
struct SplitStep {
  SplitRegex pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  ///< what lies between the matches counts as the match
};

/// Puts a space before every piece that does not start with one (ByteLevel's `add_prefix_space`).
struct SpaceStep {};

/// SentencePiece's handling of spaces: a character that can be seen stands for each, one goes
/// before a piece that does not start with it, and pieces are cut before every one.
struct MetaspaceStep {
  enum class Prepend { never, first, always };

  std::string replacement = "\u2581";
  Prepend prepend = Prepend::always;  ///< first: only where the whole text starts
  bool split = true;
};

/// The pattern that GPT-2 splits words with (Radford et al. 2019, encoder.py).
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The parts of a text that the model sees each on its own.
struct Pieces {
  TracedText text;          ///< the text after the steps that change it
  std::vector<Span> spans;  ///< of that text, in order, none empty
};

/// Cuts text into pieces, step by step; every step sees the pieces of the one before.
struct Pretokenizer {
  std::vector<std::variant<SplitStep, SpaceStep, MetaspaceStep>> steps;

  /// The pieces of valid UTF-8. A piece that starts among the first `at_start` bytes is at the
  /// start of the whole text: 0 for a text further back, more than 1 where normalisation made
  /// several bytes out of the first. Throws Error{input} as SplitRegex does.
  [[nodiscard]] Pieces split(std::string_view text, int32_t at_start = 1) const;
};

/// One step applied to a text: the spans that are left, none empty.
std::vector<Span> apply_split(const SplitStep& step, std::string_view text);

}  // namespace mechsweep
