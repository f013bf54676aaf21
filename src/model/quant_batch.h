#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "model/vector_math.h"

// How blocks of quants become floats: some blocks at a time are first taken apart into bytes and
// scales that stay in the first-level cache, then multiplied out. In one step a block's few bytes
// would be too short a loop for wide vectors, and bytes that are read again right after they were
// written in narrower pieces make the processor wait. All of this is inlined into a function of one
// instruction set, where the loops over 32 values become a few vector instructions.

namespace mechsweep {

inline constexpr int64_t kBatchValues = 2048;

/// Blocks taken apart. A value is its group's scale times its quant, in some formats plus its
/// group's minimum.
struct QuantBatch {
  alignas(64) uint8_t quants[kBatchValues];
  alignas(64) float scales[kBatchValues / 16];
  alignas(64) float minima[kBatchValues / 16];
  uint32_t fifth_bits[kBatchValues / 32];  ///< bit i is worth 16 in quant i of a group of 32
};

/// What a format's own properties override.
struct BlockTraits {
  static constexpr bool kHasMinimum = false;
  static constexpr bool kHasFifthBits = false;
};

/// Groups of 32 values.
template <typename Format>
MECHSWEEP_INLINE void multiply_groups(const QuantBatch& batch, int64_t groups,
                                      float* __restrict out) {
  constexpr auto kBits = [] {
    std::array<uint32_t, 32> bits{};
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = uint32_t{1} << i;
    return bits;
  }();
  for (int64_t g = 0; g < groups; ++g, out += 32) {
    const uint8_t* quants = batch.quants + 32 * g;
    const float scale = batch.scales[g];
    const float minimum = Format::kHasMinimum ? batch.minima[g] : 0.0F;
    const uint32_t fifth_bits = Format::kHasFifthBits ? batch.fifth_bits[g] : 0U;
    for (size_t i = 0; i < 32; ++i) {
      const int32_t high = Format::kHasFifthBits && (fifth_bits & kBits[i]) != 0 ? 16 : 0;
      const float product = scale * static_cast<float>(Format::number(quants[i] + high));
      out[i] = Format::kHasMinimum ? product + minimum : product;
    }
  }
}

/// Groups of 16 values, two at a time, and the minima in a pass of their own: what GCC vectorises
/// for every instruction set.
template <typename Format>
MECHSWEEP_INLINE void multiply_half_groups(const QuantBatch& batch, int64_t groups,
                                           float* __restrict out) {
  for (int64_t g = 0; g < groups; g += 2) {
    const uint8_t* quants = batch.quants + 16 * g;
    const float first = batch.scales[g];
    const float second = batch.scales[g + 1];
    for (int i = 0; i < 32; ++i) {
      out[16 * g + i] = (i < 16 ? first : second) * static_cast<float>(Format::number(quants[i]));
    }
  }
  if constexpr (!Format::kHasMinimum) return;
  for (int64_t g = 0; g < groups; g += 2) {
    const float first = batch.minima[g];
    const float second = batch.minima[g + 1];
    for (int i = 0; i < 32; ++i) out[16 * g + i] += i < 16 ? first : second;
  }
}

/// Converts whole blocks of a Format, a BlockTraits that has besides:
///   kValues, kBytes  of a block; kGroup, the values that share a scale, 16 or 32
///   unpack(bytes, blocks, batch)  takes blocks apart
///   number(quant)  the signed number that an unsigned quant stands for
template <typename Format>
MECHSWEEP_INLINE void convert_blocks(const uint8_t* __restrict bytes, int64_t blocks,
                                     float* __restrict out) {
  constexpr int64_t kBatchBlocks = kBatchValues / Format::kValues;
  QuantBatch batch;
  while (blocks > 0) {
    const int64_t count = std::min(blocks, kBatchBlocks);
    const int64_t groups = count * (Format::kValues / Format::kGroup);
    Format::unpack(bytes, count, batch);
    if constexpr (Format::kGroup == 32) {
      multiply_groups<Format>(batch, groups, out);
    } else {
      multiply_half_groups<Format>(batch, groups, out);
    }
    blocks -= count;
    bytes += count * Format::kBytes;
    out += count * Format::kValues;
  }
}

}  // namespace mechsweep
