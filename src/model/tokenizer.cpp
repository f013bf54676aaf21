#include "model/tokenizer.h"

#include "core/error.h"

namespace mechsweep {

Span tokens_of_bytes(const Encoding& encoding, Span bytes) {
  ensure(encoding.ids.size() == encoding.bytes.size(), "an encoding has a span for every id");
  Span tokens{-1, -1};
  for (size_t i = 0; i < encoding.bytes.size(); ++i) {
    const Span& span = encoding.bytes[i];
    if (span.begin >= bytes.end || span.end <= bytes.begin || span.begin == span.end) continue;
    const auto index = static_cast<int32_t>(i);
    if (tokens.begin < 0) tokens.begin = index;
    tokens.end = index + 1;
  }
  if (tokens.begin < 0 || bytes.begin >= bytes.end) {
    fail(ErrorKind::input, "no token overlaps bytes {} to {} of the text; give a range inside it",
         bytes.begin, bytes.end);
  }
  return tokens;
}

}  // namespace mechsweep
