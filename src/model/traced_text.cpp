#include "model/traced_text.h"

#include "core/error.h"

namespace mechsweep {

std::string_view part_of(std::string_view text, Span span) {
  return text.substr(static_cast<size_t>(span.begin), static_cast<size_t>(span.end - span.begin));
}

Span TracedText::source(Span span) const {
  if (!changed) return span;
  if (span.begin < span.end) {
    return {begin[static_cast<size_t>(span.begin)], end[static_cast<size_t>(span.end) - 1]};
  }
  const auto at = static_cast<size_t>(span.begin);
  const int32_t place = at < begin.size() ? begin[at] : end.empty() ? 0 : end.back();
  return {place, place};
}

void check_growth(size_t before, size_t after) {
  // Unicode's own forms make no text more than 18 times as long (annex 15).
  constexpr size_t kMostGrowth = 24;
  constexpr size_t kAlwaysAllowed = 4096;
  if (after <= kAlwaysAllowed || after / kMostGrowth <= before) return;
  fail(ErrorKind::input,
       "the tokenizer's normalizer makes more than {} bytes out of a text of {}; get the tokenizer "
       "again",
       after, before);
}

TracedText compose(TracedText first, TracedText second) {
  if (!first.changed) return second;
  if (!second.changed) return first;
  for (size_t i = 0; i < second.begin.size(); ++i) {
    const Span span = first.source({second.begin[i], second.end[i]});
    second.begin[i] = span.begin;
    second.end[i] = span.end;
  }
  return second;
}

void TraceBuilder::append(std::string_view text, Span source) {
  check_growth(original_.size(), result_.text.size() + text.size());
  result_.text += text;
  result_.begin.insert(result_.begin.end(), text.size(), source.begin);
  result_.end.insert(result_.end.end(), text.size(), source.end);
}

void TraceBuilder::copy(size_t count) {
  result_.text += original_.substr(at_, count);
  for (size_t i = 0; i < count; ++i, ++at_) {
    result_.begin.push_back(static_cast<int32_t>(at_));
    result_.end.push_back(static_cast<int32_t>(at_) + 1);
  }
}

void TraceBuilder::replace(size_t count, std::string_view text) {
  if (original_.substr(at_, count) == text) return copy(count);
  result_.changed = true;
  append(text, {static_cast<int32_t>(at_), static_cast<int32_t>(at_ + count)});
  at_ += count;
}

void TraceBuilder::insert(std::string_view text) {
  result_.changed = result_.changed || !text.empty();
  append(text, {static_cast<int32_t>(at_), static_cast<int32_t>(at_)});
}

TracedText TraceBuilder::finish() {
  ensure(at_ <= original_.size(), "a change goes no further than its text");
  if (!result_.changed) return {};
  copy(original_.size() - at_);
  return std::move(result_);
}

}  // namespace mechsweep
