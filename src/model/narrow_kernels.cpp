#include "model/narrow_kernels.h"

#include <vector>

#include <immintrin.h>

#include "model/half_float.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

MECHSWEEP_MULTIVERSION
void narrow_bfloat16(const float* __restrict from, int64_t count, uint16_t* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] = float_to_bfloat16(from[i]);
}

MECHSWEEP_MULTIVERSION
void widen_bfloat16(const uint16_t* __restrict from, int64_t count, float* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] = bfloat16_to_float(from[i]);
}

void narrow_float16(const float* __restrict from, int64_t count, uint16_t* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] = float_to_half(from[i]);
}

void widen_float16(const uint16_t* __restrict from, int64_t count, float* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] = half_to_float(from[i]);
}

// Processors of these two levels convert by an instruction of their own. What is left over at the
// end may go through the arithmetic above: the bits are the same.

constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

__attribute__((target("arch=x86-64-v4"))) void narrow_float16_v4(const float* from, int64_t count,
                                                                 uint16_t* to) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm512_cvtps_ph(_mm512_loadu_ps(from + i), kNearestEven));
  narrow_float16(from + i, count - i, to + i);
}

__attribute__((target("arch=x86-64-v4"))) void widen_float16_v4(const uint16_t* from, int64_t count,
                                                                float* to) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    _mm512_storeu_ps(
        to + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
  widen_float16(from + i, count - i, to + i);
}

__attribute__((target("arch=x86-64-v3"))) void narrow_float16_v3(const float* from, int64_t count,
                                                                 uint16_t* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), kNearestEven));
  narrow_float16(from + i, count - i, to + i);
}

__attribute__((target("arch=x86-64-v3"))) void widen_float16_v3(const uint16_t* from, int64_t count,
                                                                float* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(to + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  widen_float16(from + i, count - i, to + i);
}

std::vector<NarrowKernels> float16_kernels() {
  std::vector<NarrowKernels> kernels;
  if (__builtin_cpu_supports("x86-64-v4")) kernels.push_back({narrow_float16_v4, widen_float16_v4});
  if (__builtin_cpu_supports("x86-64-v3")) kernels.push_back({narrow_float16_v3, widen_float16_v3});
  kernels.push_back({narrow_float16, widen_float16});
  return kernels;
}

}  // namespace

std::span<const NarrowKernels> narrow_kernels(ComputeType type) {
  static const std::vector<NarrowKernels> kBfloat16 = {{narrow_bfloat16, widen_bfloat16}};
  static const std::vector<NarrowKernels> kFloat16 = float16_kernels();
  if (type == ComputeType::bfloat16) return kBfloat16;
  if (type == ComputeType::float16) return kFloat16;
  return {};
}

}  // namespace mechsweep
