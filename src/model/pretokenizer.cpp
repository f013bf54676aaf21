#include "model/pretokenizer.h"

#include <algorithm>

namespace mechsweep {
namespace {

struct Part {
  Span bytes;
  bool is_match = false;
};

/// Matches and the gaps between them, in order.
std::vector<Part> parts_of(const SplitStep& step, std::string_view text) {
  std::vector<Part> parts;
  int32_t end = 0;
  for (const Span& match : step.pattern.find_all(text)) {
    if (match.begin > end) parts.push_back({{end, match.begin}, step.invert});
    parts.push_back({match, !step.invert});
    end = match.end;
  }
  const auto size = static_cast<int32_t>(text.size());
  if (size > end) parts.push_back({{end, size}, step.invert});
  return parts;
}

/// Joins parts to the one before where `joins(part, part before it)` says so.
template <typename Joins>
std::vector<Span> join(const std::vector<Part>& parts, Joins joins) {
  std::vector<Span> spans;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0 && joins(parts[i], parts[i - 1])) {
      spans.back().end = parts[i].bytes.end;
    } else {
      spans.push_back(parts[i].bytes);
    }
  }
  return spans;
}

std::vector<Span> spans_of(SplitBehavior behavior, const std::vector<Part>& parts) {
  switch (behavior) {
    case SplitBehavior::isolated:
      return join(parts, [](const Part&, const Part&) { return false; });
    case SplitBehavior::contiguous:
      return join(parts, [](const Part& part, const Part& before) {
        return part.is_match == before.is_match;
      });
    case SplitBehavior::merged_with_previous:
      return join(parts, [](const Part& part, const Part& before) {
        return part.is_match && !before.is_match;
      });
    case SplitBehavior::merged_with_next:
      return join(parts, [](const Part& part, const Part& before) {
        return before.is_match && !part.is_match;
      });
    case SplitBehavior::removed:
      break;
  }
  std::vector<Span> spans;
  for (const Part& part : parts) {
    if (!part.is_match) spans.push_back(part.bytes);
  }
  return spans;
}

std::vector<Span> apply_all(const std::vector<SplitStep>& steps, std::string_view text) {
  std::vector<Span> spans;
  if (!text.empty()) spans.push_back({0, static_cast<int32_t>(text.size())});
  for (const SplitStep& step : steps) {
    std::vector<Span> next;
    for (const Span& span : spans) {
      // A pattern sees its piece alone: look-arounds do not reach into the neighbours.
      const auto piece =
          text.substr(static_cast<size_t>(span.begin), static_cast<size_t>(span.end - span.begin));
      for (const Span& part : apply_split(step, piece)) {
        next.push_back({span.begin + part.begin, span.begin + part.end});
      }
    }
    spans = std::move(next);
  }
  return spans;
}

}  // namespace

std::vector<Span> apply_split(const SplitStep& step, std::string_view text) {
  std::vector<Span> spans = spans_of(step.behavior, parts_of(step, text));
  std::erase_if(spans, [](const Span& span) { return span.begin == span.end; });
  return spans;
}

std::vector<Piece> Pretokenizer::split(std::string_view text) const {
  std::vector<Piece> pieces;
  for (const Span& span : apply_all(splits, text)) {
    const auto piece =
        text.substr(static_cast<size_t>(span.begin), static_cast<size_t>(span.end - span.begin));
    const bool add_space = add_prefix_space && !piece.starts_with(' ');
    const std::string spaced = (add_space ? " " : "") + std::string(piece);
    const int32_t shift = span.begin - (add_space ? 1 : 0);
    for (const Span& part : apply_all(byte_level_split, spaced)) {
      const bool space_before = add_space && part.begin == 0;
      pieces.push_back(
          {{std::max(span.begin, shift + part.begin), shift + part.end}, space_before});
    }
  }
  return pieces;
}

}  // namespace mechsweep
