#pragma once

#include "core/json.h"

namespace mechsweep {

/// A fact of an attempt's record; records have no checksum, so it may be anything, and is null if
/// not there.
inline Json fact(const Json& facts, const char* name) {
  return facts.is_object() && facts.contains(name) ? facts.at(name) : Json();
}

}  // namespace mechsweep
