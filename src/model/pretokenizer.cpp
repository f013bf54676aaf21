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

/// Cuts every piece anew; a pattern sees its piece alone, look-arounds do not reach into the
/// neighbours.
template <typename Cut>
void cut_pieces(std::string_view original, Pieces& pieces, Cut cut) {
  const std::string_view text = pieces.text.view(original);
  std::vector<Span> next;
  for (const Span& span : pieces.spans) {
    for (const Span& part : cut(part_of(text, span))) {
      next.push_back({span.begin + part.begin, span.begin + part.end});
    }
  }
  pieces.spans = std::move(next);
}

/// Rewrites every piece with `rewrite(piece, place of the piece, builder)`, which reads all of it.
template <typename Rewrite>
void rewrite_pieces(std::string_view original, Pieces& pieces, Rewrite rewrite) {
  const std::string_view text = pieces.text.view(original);
  TraceBuilder out(text);
  int32_t longer = 0;  // bytes that the text has grown by so far
  std::vector<Span> next;
  for (const Span& span : pieces.spans) {
    out.copy(static_cast<size_t>(span.begin) - out.position());
    const int32_t begin = span.begin + longer;
    longer += rewrite(part_of(text, span), span, out);
    next.push_back({begin, span.end + longer});
  }
  TracedText changed = out.finish();
  pieces.text = compose(std::move(pieces.text), std::move(changed));
  pieces.spans = std::move(next);
}

void apply_step(const SplitStep& step, std::string_view original, int32_t, Pieces& pieces) {
  cut_pieces(original, pieces, [&](std::string_view piece) { return apply_split(step, piece); });
}

void apply_step(const SpaceStep&, std::string_view original, int32_t, Pieces& pieces) {
  rewrite_pieces(original, pieces, [](std::string_view piece, Span, TraceBuilder& out) {
    const bool add = !piece.starts_with(' ');
    if (add) out.insert(" ");
    out.copy(piece.size());
    return add ? 1 : 0;
  });
}

/// A piece cut before every `mark`.
std::vector<Span> cut_before(std::string_view mark, std::string_view piece) {
  std::vector<Span> parts;
  size_t begin = 0;
  while (begin < piece.size()) {
    const size_t end = std::min(piece.find(mark, begin + 1), piece.size());
    parts.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(end)});
    begin = end;
  }
  return parts;
}

void apply_step(const MetaspaceStep& step, std::string_view original, int32_t at_start,
                Pieces& pieces) {
  using Prepend = MetaspaceStep::Prepend;
  const std::string& mark = step.replacement;
  rewrite_pieces(original, pieces, [&](std::string_view piece, Span span, TraceBuilder& out) {
    int32_t longer = 0;
    const bool first = pieces.text.source({span.begin, span.begin}).begin < at_start;
    const bool asked = step.prepend == Prepend::always || (step.prepend == Prepend::first && first);
    if (asked && !piece.starts_with(' ') && !piece.starts_with(mark)) {
      out.insert(mark);
      longer += static_cast<int32_t>(mark.size());
    }
    for (size_t at = 0; at < piece.size();) {
      const size_t space = std::min(piece.find(' ', at), piece.size());
      out.copy(space - at);
      at = space;
      if (at == piece.size()) break;
      out.replace(1, mark);
      longer += static_cast<int32_t>(mark.size()) - 1;
      ++at;
    }
    return longer;
  });
  if (!step.split) return;
  cut_pieces(original, pieces, [&](std::string_view piece) { return cut_before(mark, piece); });
}

}  // namespace

std::vector<Span> apply_split(const SplitStep& step, std::string_view text) {
  std::vector<Span> spans = spans_of(step.behavior, parts_of(step, text));
  std::erase_if(spans, [](const Span& span) { return span.begin == span.end; });
  return spans;
}

Pieces Pretokenizer::split(std::string_view text, int32_t at_start) const {
  Pieces pieces;
  if (!text.empty()) pieces.spans.push_back({0, static_cast<int32_t>(text.size())});
  for (const auto& step : steps) {
    std::visit([&](const auto& kind) { apply_step(kind, text, at_start, pieces); }, step);
  }
  return pieces;
}

}  // namespace mechsweep
