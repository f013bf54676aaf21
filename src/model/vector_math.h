#pragma once

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

// These are inlined into functions of a given instruction set; they have no ABI of their own, so
// -Wno-psabi is in order.
#define MECHSWEEP_INLINE __attribute__((always_inline)) inline

MECHSWEEP_INLINE Float16 broadcast(float value) {
  return value - Float16{};
}

MECHSWEEP_INLINE Float16 load(const float* from) {
  return *reinterpret_cast<const Float16*>(from);
}
MECHSWEEP_INLINE void store(float* to, Float16 value) {
  *reinterpret_cast<Float16*>(to) = value;
}

/// exp(x) for x <= 0, lane by lane, within 2 units in the last place; 0 below -87.
/// Cody and Waite reduction by ln 2 in two parts, then the degree-5 minimax polynomial of Cephes'
/// expf (Moshier).
MECHSWEEP_INLINE Float16 exp_nonpositive(Float16 x) {
  const Float16 lowest = broadcast(-87.0F);
  const Int16 underflow = x < lowest;
  x = underflow ? lowest : x;
  // Adding 1.5 * 2^23 rounds to the nearest whole number in the mantissa's low bits.
  const Float16 magic = broadcast(12582912.0F);
  const Float16 shifted = x * 1.44269504088896341F + magic;
  const Float16 n = shifted - magic;
  Float16 r = x - n * 0.693359375F;
  r = r + n * 2.12194440e-4F;
  Float16 p = broadcast(1.9875691500e-4F);
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const Int16 exponent = (__builtin_convertvector(n, Int16) + 127) << 23;
  const Float16 scale = std::bit_cast<Float16>(exponent);
  return underflow ? Float16{} : p * scale;
}

/// Sum of the lanes in a fixed tree order.
MECHSWEEP_INLINE float sum_lanes(Float16 v) {
  float a[kLanes];
  store(a, v);
  for (int half = kLanes / 2; half >= 1; half /= 2)
    for (int i = 0; i < half; ++i) a[i] += a[i + half];
  return a[0];
}

MECHSWEEP_INLINE float max_lanes(Float16 v) {
  float best = v[0];
  for (int i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

/// One version per instruction set, chosen when the program starts; the promise of equal bits is
/// for one instruction set.
#define MECHSWEEP_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

}  // namespace mechsweep
