#pragma once

#include <string>

#include "core/config_node.h"

namespace mechsweep {

/// Limits that no sensible config reaches; they bound what a hostile or broken one can cost.
inline constexpr int kMaxConfigDepth = 64;
inline constexpr int kMaxConfigNodes = 200'000;  ///< aliases count as often as they are used

/// A config file as a tree of nodes, each with its file, line, column and path. Strict: one UTF-8
/// document; a key given twice, a tag, a merge key `<<`, an alias to something that encloses it,
/// control characters and more than the limits above are refused. JSON is YAML and works too.
/// Throws Error{usage} with one sentence that starts with file:line:column; also when the file is
/// missing, unreadable or has no content.
ConfigNode read_yaml(const std::string& path);

/// The same for a text; `file_name` stands in positions and messages.
ConfigNode parse_yaml(const std::string& text, const std::string& file_name);

}  // namespace mechsweep
