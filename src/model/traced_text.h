#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mechsweep {

/// Half-open range [begin, end): of bytes in a text, or of tokens in a prompt.
struct Span {
  int32_t begin = 0;
  int32_t end = 0;
  bool operator==(const Span&) const = default;
};

/// The part of a text that a span names.
std::string_view part_of(std::string_view text, Span span);

/// A text after a change that keeps track of the original: byte i of `text` came from bytes
/// [begin[i], end[i]) of the original, an empty range where it was put in. Where nothing changed,
/// `changed` is false and the other members are empty.
struct TracedText {
  bool changed = false;
  std::string text;
  std::vector<int32_t> begin;
  std::vector<int32_t> end;

  /// The text after the change; `original` is the one before.
  [[nodiscard]] std::string_view view(std::string_view original) const {
    return changed ? std::string_view(text) : original;
  }
  /// The bytes of the original that a span of the text came from.
  [[nodiscard]] Span source(Span span) const;
};

/// Throws Error{input} when a text has grown more than any normalisation makes it: a damaged file
/// must not ask for all memory.
void check_growth(size_t before, size_t after);

/// The change that `first` and then `second`, made on what `first` left, amount to.
TracedText compose(TracedText first, TracedText second);

/// Builds a TracedText while going through the original from left to right.
class TraceBuilder {
 public:
  explicit TraceBuilder(std::string_view original) : original_(original) {}

  /// Bytes of the original that are read so far.
  [[nodiscard]] size_t position() const { return at_; }
  /// Takes over the next bytes as they are.
  void copy(size_t count);
  /// Puts `text` in place of the next bytes; all of it stands for all of them. Empty: drops them.
  void replace(size_t count, std::string_view text);
  /// Puts in a text that stands for nothing in the original.
  void insert(std::string_view text);
  /// Takes over what is left and gives the result. `changed` is false when nothing but copying was
  /// done.
  TracedText finish();

 private:
  void append(std::string_view text, Span source);

  std::string_view original_;
  size_t at_ = 0;
  TracedText result_;
};

}  // namespace mechsweep
