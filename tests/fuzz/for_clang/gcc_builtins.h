#pragma once

#include <cstddef>

// GCC's shuffle of a vector by a mask that is known at run time, which clang lacks. Included before
// every source of the fuzz program.

template <typename Vector, typename Mask>
inline Vector __builtin_shuffle(Vector values, Mask mask) {
  constexpr int kLanes = sizeof(values) / sizeof(values[0]);
  Vector out{};
  for (int i = 0; i < kLanes; ++i) out[i] = values[static_cast<size_t>(mask[i]) % kLanes];
  return out;
}
