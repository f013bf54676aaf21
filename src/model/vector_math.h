#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace mechsweep {

/// Sixteen floats handled together. With GCC's vector types every lane goes through the very same
/// instructions wherever it stands, so a value never depends on its neighbours or on its distance
/// from the end of an array; a compiler-made remainder loop would not promise that.
inline constexpr int kLanes = 16;
using Float16 __attribute__((vector_size(kLanes * sizeof(float)), aligned(4))) = float;
using Int16 __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(4))) = int32_t;

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Write `scalar * vector`, not a function that makes a vector of a scalar: GCC 12 lowers its result
// to sixteen masked moves before it knows the instruction set.

// These are inlined into functions of a given instruction set; they have no ABI of their own, so
// -Wno-psabi is in order.
#define MECHSWEEP_INLINE __attribute__((always_inline)) inline

MECHSWEEP_INLINE Float16 load(const float* from) {
  return *reinterpret_cast<const Float16*>(from);
}
MECHSWEEP_INLINE void store(float* to, Float16 value) {
  *reinterpret_cast<Float16*>(to) = value;
}

/// Up to sixteen floats; the lanes past `count` are `fill`.
MECHSWEEP_INLINE Float16 load_first(const float* from, int64_t count, float fill = 0.0F) {
  if (count >= kLanes) return load(from);
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, fill);
  std::copy_n(from, count, lanes);
  return load(lanes);
}
/// Stores the first `count` lanes, at most sixteen.
MECHSWEEP_INLINE void store_first(float* to, Float16 value, int64_t count) {
  if (count >= kLanes) {
    store(to, value);
    return;
  }
  float lanes[kLanes];
  store(lanes, value);
  std::copy_n(lanes, count, to);
}

/// exp(x) for x <= 0, lane by lane, within 2 units in the last place; 0 below -87.
/// Cody and Waite reduction by ln 2 in two parts, then the degree-5 minimax polynomial of Cephes'
/// expf (Moshier).
MECHSWEEP_INLINE Float16 exp_nonpositive(Float16 x) {
  constexpr float kLowest = -87.0F;
  const Int16 underflow = x < kLowest;
  x = underflow ? kLowest : x;
  // Adding 1.5 * 2^23 rounds to the nearest whole number in the mantissa's low bits.
  constexpr float kMagic = 12582912.0F;
  const Float16 shifted = x * 1.44269504088896341F + kMagic;
  const Float16 n = shifted - kMagic;
  Float16 r = x - n * 0.693359375F;
  r = r + n * 2.12194440e-4F;
  Float16 p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const Int16 exponent = (__builtin_convertvector(n, Int16) + 127) << 23;
  const Float16 scale = std::bit_cast<Float16>(exponent);
  return underflow ? 0.0F : p * scale;
}

/// 1 / (1 + exp(-x)), lane by lane, relative to its size also where it is small.
MECHSWEEP_INLINE Float16 sigmoid(Float16 x) {
  const Int16 positive = x >= 0.0F;
  const Float16 t = exp_nonpositive(positive ? -x : x);
  return (positive ? 1.0F : t) / (1.0F + t);
}

/// Lane i becomes lane (i + distance) mod 16.
MECHSWEEP_INLINE Float16 turn_lanes(Float16 v, int distance) {
  const Int16 index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return __builtin_shuffle(v, (index + distance) & (kLanes - 1));
}

/// Sum of the lanes in a fixed tree order.
MECHSWEEP_INLINE float sum_lanes(Float16 v) {
  v += turn_lanes(v, 8);
  v += turn_lanes(v, 4);
  v += turn_lanes(v, 2);
  return v[0] + v[1];
}

MECHSWEEP_INLINE float max_lanes(Float16 v) {
  for (const int distance : {8, 4, 2, 1}) {
    const Float16 other = turn_lanes(v, distance);
    v = v > other ? v : other;
  }
  return v[0];
}

/// One version per instruction set, chosen when the program starts; the promise of equal bits is
/// for one instruction set.
#define MECHSWEEP_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

}  // namespace mechsweep
