#include "model/normalizer.h"

#include <optional>

namespace mechsweep {
namespace {

/// A change of single code points: `change(code point)` gives what stands for it, or nothing where
/// it stays.
template <typename Change>
Normalizer::Step by_code_point(Change change) {
  return [change](std::string_view text) {
    TraceBuilder out(text);
    while (out.position() < text.size()) {
      const CodePoint point = code_point_at(text, out.position());
      const auto length = static_cast<size_t>(point.length);
      const std::optional<std::string> changed = change(point.value);
      if (changed) {
        out.replace(length, *changed);
      } else {
        out.copy(length);
      }
    }
    return out.finish();
  };
}

bool is_nmt_control(char32_t c) {
  return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
         c == 0x8F || c == 0x9F;
}

bool is_nmt_space(char32_t c) {
  return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
         (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
         c == 0xFFFD;
}

}  // namespace

TracedText Normalizer::apply(std::string_view text) const {
  TracedText result;
  for (const Step& step : steps_) {
    TracedText next = step(result.view(text));
    result = compose(std::move(result), std::move(next));
    check_growth(text.size(), result.text.size());
  }
  return result;
}

Normalizer::Step normal_form_step(NormalForm form) {
  return [form](std::string_view text) { return to_normal_form(text, form); };
}

Normalizer::Step lowercase_step() {
  return by_code_point([](char32_t c) -> std::optional<std::string> { return lower_case(c); });
}

Normalizer::Step replace_step(SplitRegex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](std::string_view text) {
    TraceBuilder out(text);
    for (const Span& match : pattern.find_all(text)) {
      out.copy(static_cast<size_t>(match.begin) - out.position());
      if (match.begin == match.end) {
        out.insert(content);
      } else {
        out.replace(static_cast<size_t>(match.end - match.begin), content);
      }
    }
    return out.finish();
  };
}

Normalizer::Step prepend_step(std::string content) {
  return [content = std::move(content)](std::string_view text) {
    TraceBuilder out(text);
    if (!text.empty()) out.insert(content);
    return out.finish();
  };
}

Normalizer::Step strip_step(bool left, bool right) {
  return [left, right](std::string_view text) {
    TraceBuilder out(text);
    if (left) out.replace(leading_space(text), "");
    const size_t after = right ? trailing_space(text.substr(out.position())) : 0;
    out.copy(text.size() - after - out.position());
    out.replace(after, "");
    return out.finish();
  };
}

Normalizer::Step strip_accents_step() {
  return by_code_point(
      [](char32_t c) { return is_mark(c) ? std::optional<std::string>("") : std::nullopt; });
}

Normalizer::Step nmt_step() {
  return by_code_point([](char32_t c) -> std::optional<std::string> {
    if (is_nmt_control(c)) return "";
    if (is_nmt_space(c)) return " ";
    return std::nullopt;
  });
}

Normalizer::Step charsmap_step(Charsmap charsmap) {
  auto shared = std::make_shared<const Charsmap>(std::move(charsmap));
  return [shared](std::string_view text) { return shared->apply(text); };
}

}  // namespace mechsweep
