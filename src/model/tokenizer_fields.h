#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/json.h"

namespace mechsweep {

/// Readers of a tokenizer file's JSON. All throw Error{input} naming `path`, the place of the
/// value ("model.merges[3]"), when it is missing or has another type.

/// A key of an object that must be there. An empty `path` is the top level.
const Json& require_field(const Json& object, const std::string& key, const std::string& path);
/// The value of a key, or null where it is missing; `object` must be an object.
const Json& field_or_null(const Json& object, const std::string& key, const std::string& path);

std::string field_path(const std::string& path, std::string_view key);
std::string item_path(const std::string& path, size_t index);

const std::string& as_text(const Json& value, const std::string& path);
const Json& as_list(const Json& value, const std::string& path);
const Json& as_object(const Json& value, const std::string& path);
/// A token id: an integer from 0 to 2^31 - 1.
int32_t as_token_id(const Json& value, const std::string& path);
/// An optional flag; null counts as missing.
bool flag_or(const Json& object, const std::string& key, bool fallback, const std::string& path);

}  // namespace mechsweep
