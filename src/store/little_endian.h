#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mechsweep {

/// An unsigned number as sizeof(T) bytes from byte `at` on, the lowest first.
template <typename T>
void put_number(std::span<uint8_t> bytes, size_t at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
}

/// The reverse of put_number.
template <typename T>
T take_number(std::span<const uint8_t> bytes, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(bytes[at + i]) << (8 * i);
  return value;
}

}  // namespace mechsweep
