#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mechsweep {

/// What a signal handler writes when the process dies of a unit: prepared beforehand, since a
/// handler may call nothing but write and pwrite.
struct CrashMark {
  int descriptor = -1;
  int64_t offset = 0;  ///< in the file, in bytes; -1: append
  std::array<uint8_t, 256> bytes{};
  size_t size = 0;
};

}  // namespace mechsweep
