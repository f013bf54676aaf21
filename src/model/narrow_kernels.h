#pragma once

#include <cstdint>
#include <span>

#include "model/linear.h"

namespace mechsweep {

/// Conversions between fp32 and a type of 16 bits, of any number of values. Every instruction set
/// gives the bits of float_to_half, half_to_float, float_to_bfloat16 and bfloat16_to_float
/// (model/half_float.h).
struct NarrowKernels {
  void (*narrow)(const float* from, int64_t count, uint16_t* to);
  void (*widen)(const uint16_t* from, int64_t count, float* to);
};

/// Those that this processor can run, the fastest first; empty for float32.
std::span<const NarrowKernels> narrow_kernels(ComputeType type);

}  // namespace mechsweep
