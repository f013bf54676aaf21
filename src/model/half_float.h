#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "model/vector_math.h"

namespace mechsweep {

/// IEEE 754 binary16 to binary32, exact; a NaN becomes quiet. Subnormals go through a difference of
/// normal numbers, so that a process that flushes subnormals to zero reads the same weights. All
/// numbers go through it (most less zero), because a loop with a branch here is not vectorised.
MECHSWEEP_INLINE float half_to_float(uint32_t half) {
  constexpr uint32_t kRebias = (127U - 15U) << 23;
  constexpr uint32_t kSmallestNormal = (127U - 14U) << 23;  // 2^-14
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t shifted = (half & 0x7fffU) << 13;
  const uint32_t exponent = half & 0x7c00U;
  const uint32_t special = exponent == 0x7c00U ? kRebias : 0U;
  const uint32_t above = shifted + (exponent == 0U ? kSmallestNormal : kRebias + special);
  const uint32_t excess = exponent == 0U ? kSmallestNormal : 0U;
  const float magnitude = std::bit_cast<float>(above) - std::bit_cast<float>(excess);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

inline constexpr int64_t kHalfBytes = 2;

MECHSWEEP_INLINE uint16_t load_u16(const uint8_t* bytes) {
  uint16_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

MECHSWEEP_INLINE float load_half(const uint8_t* bytes) {
  return half_to_float(load_u16(bytes));
}

}  // namespace mechsweep
