#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/tensor_files.h"

namespace mechsweep {

/// Reads a whole JSON file or header from `length` bytes at `offset`. Throws Error{input} on
/// invalid JSON, on a name that an object has twice, and on nesting deeper than any checkpoint's;
/// `subject` says in messages what it is.
Json read_strict_json(const InputFile& file, uint64_t offset, uint64_t length,
                      const std::string& subject);

/// The tensors that the header of a safetensors file describes.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;              ///< in the order of their data; `file` is 0
  std::map<std::string, std::string> unreadable;  ///< name to type of those we do not read
};

/// Reads and checks the header: every tensor lies inside the file, takes exactly the bytes that
/// its shape and type need, and together they fill the data without overlap or gap.
SafetensorsHeader read_safetensors_header(const InputFile& file);

}  // namespace mechsweep
