#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "model/tensor_source.h"

// The quantised formats are those of ggml (ggml-common.h, block_q4_0, block_q4_1, block_q8_0): 32
// values a block, fp16 scale first. In the 4-bit ones the low nibbles of the 16 bytes are values
// 0..15 and the high nibbles values 16..31. The product of an fp16 scale and an integer of at most
// 8 bits is exact in fp32, so results do not depend on whether a compiler fuses it with the sum.

namespace mechsweep {
namespace {

static_assert(std::endian::native == std::endian::little,
              "checkpoints are read as little-endian values");

constexpr int64_t kQuantBlock = 32;
constexpr int64_t kHalfBytes = 2;

struct BlockLayout {
  int64_t values;
  int64_t bytes;
};

BlockLayout block_layout(StorageType type) {
  switch (type) {
    case StorageType::f32:
      return {1, 4};
    case StorageType::f16:
    case StorageType::bf16:
      return {1, kHalfBytes};
    case StorageType::q4_0:
      return {kQuantBlock, kHalfBytes + kQuantBlock / 2};
    case StorageType::q4_1:
      return {kQuantBlock, 2 * kHalfBytes + kQuantBlock / 2};
    case StorageType::q8_0:
      return {kQuantBlock, kHalfBytes + kQuantBlock};
  }
  ensure(false, "not a storage type");
  return {};
}

uint16_t load_u16(const uint8_t* bytes) {
  uint16_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// IEEE 754 binary16 to binary32, exact; NaN payloads are kept. Subnormals go through a difference
// of normal numbers, so that a process that flushes subnormals to zero reads the same weights.
uint32_t half_to_float_bits(uint16_t half) {
  constexpr uint32_t kRebias = (127U - 15U) << 23;
  constexpr uint32_t kSmallestNormal = (127U - 14U) << 23;  // 2^-14
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t shifted = (half & 0x7fffU) << 13;
  const uint32_t exponent = half & 0x7c00U;
  const float above = std::bit_cast<float>(shifted + kSmallestNormal);
  const uint32_t subnormal = std::bit_cast<uint32_t>(above - std::bit_cast<float>(kSmallestNormal));
  const uint32_t special = exponent == 0x7c00U ? kRebias : 0U;
  return sign | (exponent == 0U ? subnormal : shifted + kRebias + special);
}

float load_half(const uint8_t* bytes) {
  return std::bit_cast<float>(half_to_float_bits(load_u16(bytes)));
}

void halves(const uint8_t* bytes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = half_to_float_bits(load_u16(bytes + kHalfBytes * i));
    std::memcpy(out + i, &bits, sizeof bits);
  }
}

void brain_floats(const uint8_t* bytes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(load_u16(bytes + kHalfBytes * i)) << 16;
    std::memcpy(out + i, &bits, sizeof bits);
  }
}

// value = d * (q - 8)
void block_q4_0(const uint8_t* block, float* out) {
  const float scale = load_half(block);
  const uint8_t* quants = block + kHalfBytes;
  for (int64_t i = 0; i < kQuantBlock / 2; ++i) {
    out[i] = scale * static_cast<float>((quants[i] & 15) - 8);
    out[i + kQuantBlock / 2] = scale * static_cast<float>((quants[i] >> 4) - 8);
  }
}

// value = d * q + m
void block_q4_1(const uint8_t* block, float* out) {
  const float scale = load_half(block);
  const float minimum = load_half(block + kHalfBytes);
  const uint8_t* quants = block + 2 * kHalfBytes;
  for (int64_t i = 0; i < kQuantBlock / 2; ++i) {
    out[i] = scale * static_cast<float>(quants[i] & 15) + minimum;
    out[i + kQuantBlock / 2] = scale * static_cast<float>(quants[i] >> 4) + minimum;
  }
}

// value = d * q, q signed
void block_q8_0(const uint8_t* block, float* out) {
  const float scale = load_half(block);
  std::array<int8_t, kQuantBlock> quants{};
  std::memcpy(quants.data(), block + kHalfBytes, quants.size());
  for (size_t i = 0; i < quants.size(); ++i) out[i] = scale * static_cast<float>(quants[i]);
}

template <typename Block>
void each_block(Block block, int64_t block_bytes, const uint8_t* bytes, int64_t count, float* out) {
  for (int64_t done = 0; done < count; done += kQuantBlock) {
    block(bytes, out + done);
    bytes += block_bytes;
  }
}

}  // namespace

int64_t storage_block_size(StorageType type) {
  return block_layout(type).values;
}

int64_t storage_bytes(StorageType type, int64_t count) {
  const BlockLayout layout = block_layout(type);
  ensure(count >= 0 && count % layout.values == 0, "values are not whole blocks");
  int64_t bytes = 0;
  ensure(!__builtin_mul_overflow(count / layout.values, layout.bytes, &bytes),
         "a count of values whose bytes overflow");
  return bytes;
}

void dequantize(StorageType type, const uint8_t* bytes, int64_t count, float* out) {
  const BlockLayout layout = block_layout(type);
  ensure(count >= 0 && count % layout.values == 0, "values are not whole blocks");
  switch (type) {
    case StorageType::f32:
      if (count > 0) std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(float));
      return;
    case StorageType::f16:
      return halves(bytes, count, out);
    case StorageType::bf16:
      return brain_floats(bytes, count, out);
    case StorageType::q4_0:
      return each_block(block_q4_0, layout.bytes, bytes, count, out);
    case StorageType::q4_1:
      return each_block(block_q4_1, layout.bytes, bytes, count, out);
    case StorageType::q8_0:
      return each_block(block_q8_0, layout.bytes, bytes, count, out);
  }
}

}  // namespace mechsweep
