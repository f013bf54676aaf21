#pragma once

#include <string>

#include "store/file_layout.h"

namespace mechsweep {

/// The root attribute that holds the layout's hash.
inline constexpr const char* kLayoutHash = "layout_hash";

/// SHA-256, in hexadecimal, of everything that a file says about itself as a reader sees it:
/// attributes (but this one), groups, datasets with types, shapes, scales and contents, units and
/// targets. What units fill is not part of it. So damage of metadata shows also without STEM.meta.
std::string layout_hash(const FileLayout& layout);

/// The hash of a file's layout as it is read back, whatever hash it holds. Throws Error{input} when
/// it cannot be read.
std::string hash_stored_layout(const std::string& path);

}  // namespace mechsweep
