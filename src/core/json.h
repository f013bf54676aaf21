#pragma once

#include <nlohmann/json.hpp>

namespace mechsweep {

/// JSON with keys in sorted order: dumping it without white space is our canonical form, the one
/// that is hashed for unit ids and file keys.
using Json = nlohmann::json;

}  // namespace mechsweep
