#pragma once

// What rounding to a type of 16 bits means, written down by its definition in double precision.

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/linear.h"

namespace mechsweep::test_model {

/// A binary format: numbers are whole multiples of 2^(e - fraction_bits), where 2^e is the largest
/// power of two that does not exceed the number, or 2^least_exponent if that is larger.
struct BinaryFormat {
  int fraction_bits;
  int least_exponent;
  double largest;
};

inline BinaryFormat format_of(ComputeType type) {
  if (type == ComputeType::float16) return {10, -14, 65504.0};
  if (type == ComputeType::bfloat16) return {7, -126, std::ldexp(255.0, 120)};
  return {23, -126, std::numeric_limits<float>::max()};
}

/// The nearest number of the format, ties to even (the processor's default for nearbyint).
inline double nearest_number(ComputeType type, double value) {
  const BinaryFormat format = format_of(type);
  if (value == 0.0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), format.least_exponent);
  const double step = std::ldexp(1.0, exponent - format.fraction_bits);
  const double rounded = std::nearbyint(value / step) * step;
  if (std::abs(rounded) <= format.largest) return rounded;
  return std::copysign(std::numeric_limits<double>::infinity(), value);
}

}  // namespace mechsweep::test_model
