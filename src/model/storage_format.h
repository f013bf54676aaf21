#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/tensor_source.h"

namespace mechsweep {

/// Converts `blocks` whole blocks, one after another, to fp32.
using BlockConverter = void (*)(const uint8_t* bytes, int64_t blocks, float* out);

/// What is to be known of a StorageType. A type that stores values one by one has blocks of one.
struct StorageFormat {
  StorageType type;
  std::string_view name;  ///< as in GGUF and safetensors
  uint32_t gguf_number;   ///< of the type in GGUF
  int64_t values;         ///< of a block
  int64_t bytes;          ///< of a block
  BlockConverter convert;
};

inline constexpr int64_t kMostBlockValues = 256;

const StorageFormat& storage_format(StorageType type);
/// The type with this number in GGUF; nothing for one that is not read.
std::optional<StorageType> storage_type_of_gguf(uint32_t number);
/// The names of all types, for messages: "F32, F16, ... and IQ4_NL".
std::string storage_type_list();

}  // namespace mechsweep
