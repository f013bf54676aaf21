#include "model/split_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// Carries a pattern over piece by piece. PCRE2's \s would hold U+180E, its \w no marks and its
/// \v and \h other sets; its classes do not nest; and in Ruby {m,n}+ repeats, PCRE2's is
/// possessive.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '\\') {
        escape();
      } else if (depth_ > 0) {
        inside_class();
      } else {
        outside_class();
      }
    }
    return std::move(out_);
  }

 private:
  static constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

  [[nodiscard]] bool next_is(std::string_view text) const {
    return pattern_.substr(at_).starts_with(text);
  }
  [[noreturn]] void refuse(std::string_view construct) const {
    fail(ErrorKind::input,
         "the tokenizer's split pattern {} uses {} at byte {}, which is not supported; rewrite it "
         "without",
         show_text(pattern_), construct, at_);
  }
  void copy(size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }
  void replace(size_t count, std::string_view by) {
    out_ += by;
    at_ += count;
  }

  void escape() {
    const char c = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c == 's') return replace(2, "\\p{White_Space}");
    if (c == 'S') return replace(2, "\\P{White_Space}");
    if (c == 'v') return replace(2, "\\x0B");
    if (c == 'w') return replace(2, depth_ > 0 ? std::string(kWord) : fmt::format("[{}]", kWord));
    if (c == 'W' && depth_ == 0) return replace(2, fmt::format("[^{}]", kWord));
    if (c == 'u') {
      const std::string_view digits = pattern_.substr(at_ + 2, 4);
      const bool hex = digits.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
      if (digits.size() != 4 || !hex) refuse("\\u without four hexadecimal digits");
      return replace(6, fmt::format("\\x{{{}}}", digits));
    }
    if (c == 'p' || c == 'P' || c == 'x') {
      const bool braced = at_ + 2 < pattern_.size() && pattern_[at_ + 2] == '{';
      const size_t close = pattern_.find('}', at_);
      return copy(braced && close != std::string_view::npos ? close + 1 - at_ : 2);
    }
    if (alphanumeric && std::string_view("dDnrtfaeAzZ").find(c) == std::string_view::npos) {
      refuse(fmt::format("\\{}", c));
    }
    copy(2);
  }

  void inside_class() {
    if (next_is("&&")) refuse("a class intersection (&&)");
    if (next_is("[:")) refuse("a POSIX class ([:...:])");
    if (next_is("[^")) refuse("a negated class inside a class");
    if (next_is("[")) {
      if (out_.back() == '-') refuse("a range up to a class");
      ++depth_;  // a union: its members simply join the class around it
      ++at_;
    } else if (next_is("]")) {
      replace(1, --depth_ == 0 ? "]" : "");
    } else {
      copy(1);
    }
  }

  void outside_class() {
    if (next_is("[")) {
      depth_ = 1;
      copy(next_is("[^") ? 2 : 1);
      if (next_is("]")) replace(1, "\\]");
    } else if (next_is("(*")) {
      refuse("(*");
    } else if (next_is("(?")) {
      check_group();
      copy(2);
    } else if (next_is("}+")) {
      refuse("'+' after a counted repetition");
    } else if (next_is("{,")) {
      refuse("a repetition without a lower bound");
    } else {
      copy(1);
    }
  }

  /// Of the inline options only `i` means the same in both.
  void check_group() const {
    const std::string_view rest = pattern_.substr(at_ + 2);
    if (rest.empty() || std::string_view(":=!<>#").find(rest[0]) != std::string_view::npos) return;
    const size_t end = rest.find_first_not_of("i-");
    if (end == 0 || end == std::string_view::npos || (rest[end] != ':' && rest[end] != ')')) {
      refuse(fmt::format("the group (?{}", rest[0]));
    }
  }

  std::string_view pattern_;
  std::string out_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string pcre2_from_oniguruma(std::string_view pattern) {
  return Translator(pattern).run();
}

SplitRegex SplitRegex::from_literal(std::string_view text) {
  check_utf8(text, "a split pattern of the tokenizer");
  if (text.empty()) fail(ErrorKind::input, "a split pattern of the tokenizer is empty");
  SplitRegex result;
  result.name_ = text;
  return result;
}

SplitRegex SplitRegex::from_pattern(std::string_view oniguruma) {
  check_utf8(oniguruma, "a split pattern of the tokenizer");
  SplitRegex result;
  result.name_ = oniguruma;
  const std::string pcre2_pattern = pcre2_from_oniguruma(oniguruma);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pcre2_pattern.data()),
                                   pcre2_pattern.size(), options, &error, &offset, nullptr);
  if (code == nullptr) {
    fail(ErrorKind::input, "the tokenizer's split pattern {} is not understood: {}",
         show_text(oniguruma), pcre2_message(error));
  }
  // Without a just-in-time compiler the pattern is interpreted.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  result.code_ =
      std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  return result;
}

std::vector<Span> SplitRegex::find_all(std::string_view text) const {
  std::vector<Span> found;
  if (code_ == nullptr) {
    for (size_t at = text.find(name_); at != std::string_view::npos;
         at = text.find(name_, at + name_.size())) {
      found.push_back({static_cast<int32_t>(at), static_cast<int32_t>(at + name_.size())});
    }
    return found;
  }
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  size_t from = 0;
  while (from <= text.size()) {
    auto run = [&](uint32_t options) {
      return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                         options | PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    };
    int result = run(0);
    // Compiled patterns have a small stack; the interpreter takes what it needs.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      fail(ErrorKind::input, "the tokenizer's split pattern {} gave up on the text: {}",
           show_text(name_), pcre2_message(result));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    const Span span{static_cast<int32_t>(bounds[0]), static_cast<int32_t>(bounds[1])};
    if (span.begin == span.end && !found.empty() && found.back().end == span.end) {
      if (from == text.size()) break;
      from += static_cast<size_t>(code_point_at(text, from).length);
      continue;
    }
    found.push_back(span);
    from = static_cast<size_t>(span.end);
  }
  return found;
}

}  // namespace mechsweep
