#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace mechsweep {

/// A launch's facts as the content of its slot in /attempts: JSON text padded with zeros. The
/// member `crc32c` is the checksum of the text without it. Of a record that is too long the largest
/// facts are left out and named under "left_out".
std::vector<uint8_t> encode_attempt(Json facts);

/// The reverse, without `crc32c`; {"unreadable": true} when the text is no such record any more.
Json decode_attempt(const std::string& text);

}  // namespace mechsweep
