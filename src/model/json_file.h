#pragma once

#include <cstdint>
#include <string>

#include "core/json.h"
#include "model/tensor_files.h"

namespace mechsweep {

/// The limit of the reference reader of safetensors.
inline constexpr uint64_t kLargestJson = 100'000'000;

/// A JSON document of `length` bytes at `offset` of a file. Throws Error{input} naming the file
/// where it is longer than any checkpoint's, or not what parse_json takes; `subject` says in
/// messages what it is.
Json read_json(const InputFile& file, uint64_t offset, uint64_t length, const std::string& subject);

/// A file that is one JSON document, such as config.json. Throws Error{input} naming the path.
Json read_json_file(const std::string& path);

}  // namespace mechsweep
