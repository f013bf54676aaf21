#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/tensor_files.h"

namespace mechsweep {

/// The tensors that the header of a safetensors file describes.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;              ///< in the order of their data; `file` is 0
  std::map<std::string, std::string> unreadable;  ///< name to type of those we do not read
};

/// Reads and checks the header: every tensor lies inside the file, takes exactly the bytes that
/// its shape and type need, and together they fill the data without overlap or gap.
SafetensorsHeader read_safetensors_header(const InputFile& file);

}  // namespace mechsweep
