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

/// The nearest binary16 of a float, ties to even; infinite from 65520 on, subnormal below 2^-14;
/// a NaN becomes quiet and keeps the upper part of its payload.
MECHSWEEP_INLINE uint16_t float_to_half(float value) {
  constexpr uint32_t kRebias = (127U - 15U) << 23;
  constexpr uint32_t kSmallestNormal = (127U - 14U) << 23;
  constexpr uint32_t kInfinity = 0xffU << 23;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffU;
  const uint32_t rounded = (magnitude - kRebias + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
  const uint32_t normal = rounded < 0x7c00U ? rounded : 0x7c00U;
  // The last place of a float from 0.5 to 1 is the smallest subnormal, so this sum rounds to it.
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) -
                        std::bit_cast<uint32_t>(0.5F);
  const uint32_t nan = 0x7e00U | ((magnitude >> 13) & 0x3ffU);
  const uint32_t number = magnitude < kSmallestNormal ? tiny : normal;
  return static_cast<uint16_t>(((bits >> 16) & 0x8000U) | (magnitude > kInfinity ? nan : number));
}

/// bfloat16, the upper half of a float.
MECHSWEEP_INLINE float bfloat16_to_float(uint32_t half) {
  return std::bit_cast<float>(half << 16);
}

/// The nearest bfloat16, ties to even; a NaN becomes quiet.
MECHSWEEP_INLINE uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40U;
  return static_cast<uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded);
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
