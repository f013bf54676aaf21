#pragma once

#include <hdf5.h>

#include <string>

#include "core/json.h"

namespace mechsweep {

/// Writes every member of a JSON object as an attribute of a group or dataset: text as a
/// fixed-length UTF-8 string, whole numbers int64, other numbers float64, booleans as the
/// enumeration that h5py reads as bool, non-empty arrays of one of these in one dimension, and
/// anything else as JSON text. A text too long for an attribute (HDF5's limit is 64 KiB) becomes a
/// scalar text dataset of the same name in the group, marked by an attribute `long_attribute`; on a
/// dataset it is an Error{internal}. `path` is for messages.
void write_attributes(hid_t object, const Json& attributes, const std::string& path);

/// The reverse, without the attributes that dimension scales use. Long texts are not merged here.
/// Throws Error{input} for a type that we never write.
Json read_attributes(hid_t object, const std::string& path);

/// A new fixed-length, zero-padded UTF-8 string type, as an open identifier.
hid_t make_text_type(int64_t bytes);

inline constexpr const char* kLongAttributeMark = "long_attribute";

}  // namespace mechsweep
