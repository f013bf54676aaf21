#pragma once

#include <string>
#include <string_view>

#include "core/json.h"

// JSON that somebody else wrote: read strictly, shown in messages.

namespace mechsweep {

/// Deeper than anything that a model's or a run's files nest, and shallow enough for whatever
/// follows a document recursively.
inline constexpr size_t kDeepestJson = 64;

/// Parses a whole text. Throws Error{input} without context when it is not JSON in UTF-8 ("is not
/// valid JSON: line 2, column 7: what is wrong"; "column 7" alone in a text of one line), gives an
/// object the same name twice, or is nested deeper than `deepest` levels.
Json parse_json(std::string_view text, size_t deepest = kDeepestJson);

/// A value as a message shows it: as JSON where that is short, else cut, or its size.
std::string show_json(const Json& value);

}  // namespace mechsweep
