#include "model/half_float.h"
#include "model/quant_batch.h"
#include "model/quant_blocks.h"

// Blocks of 256 values in groups of 16 or 32: an fp16 scale d and in some formats an fp16 scale of
// minima, small integers that multiply them to give a group its own, then 2 to 6 bits a value. Row
// j here means values 32 j to 32 j + 31: its bits stand in 32 bytes that it shares with other rows.

namespace mechsweep {
namespace {

constexpr int64_t kRows = 8;
constexpr int64_t kRowValues = 32;

struct SuperBlockTraits : BlockTraits {
  static constexpr int64_t kValues = kRows * kRowValues;
};

/// A row's lower bits from some bytes, its upper bits from others.
template <int LowBits, int HighBits>
MECHSWEEP_INLINE void join_bits(const uint8_t* __restrict low, int low_shift,
                                const uint8_t* __restrict high, int high_shift,
                                uint8_t* __restrict out) {
  for (int i = 0; i < kRowValues; ++i) {
    const int lower = (low[i] >> low_shift) & ((1 << LowBits) - 1);
    const int upper = (high[i] >> high_shift) & ((1 << HighBits) - 1);
    out[i] = static_cast<uint8_t>(lower | upper << LowBits);
  }
}

template <int Bits>
MECHSWEEP_INLINE void take_bits(const uint8_t* __restrict from, int shift,
                                uint8_t* __restrict out) {
  for (int i = 0; i < kRowValues; ++i) {
    out[i] = static_cast<uint8_t>((from[i] >> shift) & ((1 << Bits) - 1));
  }
}

/// The 6-bit factors of 8 groups' scales and minima, in 12 bytes: of groups 0 to 3 in the low bits
/// of bytes 0 to 3 (scales) and 4 to 7 (minima); of groups 4 to 7 the low four bits are the nibbles
/// of bytes 8 to 11 (scales low, minima high), the high two bits the top ones of bytes 0 to 7.
MECHSWEEP_INLINE void unpack_six_bits(const uint8_t* __restrict packed, float scale, float minimum,
                                      float* __restrict scales, float* __restrict minima) {
  for (int64_t j = 0; j < 4; ++j) {
    const int later_scale = (packed[8 + j] & 15) | packed[j] >> 6 << 4;
    const int later_minimum = packed[8 + j] >> 4 | packed[4 + j] >> 6 << 4;
    scales[j] = scale * static_cast<float>(packed[j] & 63);
    scales[4 + j] = scale * static_cast<float>(later_scale);
    minima[j] = -minimum * static_cast<float>(packed[4 + j] & 63);
    minima[4 + j] = -minimum * static_cast<float>(later_minimum);
  }
}

/// 16 bytes with a group's 4-bit factors of scale and minimum, 64 bytes of 2-bit quants, d, m;
/// value = d s q - m t.
struct BlockQ2K : SuperBlockTraits {
  static constexpr int64_t kBytes = 84;
  static constexpr int64_t kGroup = 16;
  static constexpr bool kHasMinimum = true;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* block, int64_t blocks, QuantBatch& batch) {
    for (int64_t b = 0; b < blocks; ++b, block += kBytes) {
      const float scale = load_half(block + 80);
      const float minimum = load_half(block + 82);
      float* scales = batch.scales + 16 * b;
      float* minima = batch.minima + 16 * b;
      for (int64_t g = 0; g < 16; ++g) scales[g] = scale * static_cast<float>(block[g] & 15);
      for (int64_t g = 0; g < 16; ++g) minima[g] = -minimum * static_cast<float>(block[g] >> 4);
      for (int j = 0; j < kRows; ++j) {
        take_bits<2>(block + 16 + kRowValues * (j / 4), 2 * (j % 4),
                     batch.quants + kValues * b + kRowValues * j);
      }
    }
  }
};

/// 32 bytes with the third bits, 64 bytes of the lower two, 12 bytes with 6-bit factors of the
/// groups, d; value = d (s - 32) (q - 4).
struct BlockQ3K : SuperBlockTraits {
  static constexpr int64_t kBytes = 110;
  static constexpr int64_t kGroup = 16;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant - 4; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* block, int64_t blocks, QuantBatch& batch) {
    for (int64_t b = 0; b < blocks; ++b, block += kBytes) {
      const uint8_t* packed = block + 96;
      const float scale = load_half(block + 108);
      for (int64_t g = 0; g < 16; ++g) {
        const int low = (packed[g % 8] >> (4 * (g / 8))) & 15;
        const int high = (packed[8 + g % 4] >> (2 * (g / 4))) & 3;
        batch.scales[16 * b + g] = scale * static_cast<float>((low | high << 4) - 32);
      }
      for (int j = 0; j < kRows; ++j) {
        join_bits<2, 1>(block + 32 + kRowValues * (j / 4), 2 * (j % 4), block, j,
                        batch.quants + kValues * b + kRowValues * j);
      }
    }
  }
};

/// d, m, 12 bytes with 6-bit factors, 128 bytes of 4-bit quants; value = d s q - m t.
struct BlockQ4K : SuperBlockTraits {
  static constexpr int64_t kBytes = 144;
  static constexpr int64_t kGroup = 32;
  static constexpr bool kHasMinimum = true;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* block, int64_t blocks, QuantBatch& batch) {
    for (int64_t b = 0; b < blocks; ++b, block += kBytes) {
      unpack_six_bits(block + 4, load_half(block), load_half(block + 2), batch.scales + kRows * b,
                      batch.minima + kRows * b);
      for (int j = 0; j < kRows; ++j) {
        take_bits<4>(block + 16 + kRowValues * (j / 2), 4 * (j % 2),
                     batch.quants + kValues * b + kRowValues * j);
      }
    }
  }
};

/// d, m, 12 bytes with 6-bit factors, 32 bytes with the fifth bits, 128 bytes of the lower four;
/// value = d s q - m t.
struct BlockQ5K : SuperBlockTraits {
  static constexpr int64_t kBytes = 176;
  static constexpr int64_t kGroup = 32;
  static constexpr bool kHasMinimum = true;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* block, int64_t blocks, QuantBatch& batch) {
    for (int64_t b = 0; b < blocks; ++b, block += kBytes) {
      unpack_six_bits(block + 4, load_half(block), load_half(block + 2), batch.scales + kRows * b,
                      batch.minima + kRows * b);
      for (int j = 0; j < kRows; ++j) {
        join_bits<4, 1>(block + 48 + kRowValues * (j / 2), 4 * (j % 2), block + 16, j,
                        batch.quants + kValues * b + kRowValues * j);
      }
    }
  }
};

/// 128 bytes of the lower four bits, 64 bytes of the upper two, 16 signed factors, d;
/// value = d s (q - 32).
struct BlockQ6K : SuperBlockTraits {
  static constexpr int64_t kBytes = 210;
  static constexpr int64_t kGroup = 16;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant - 32; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* block, int64_t blocks, QuantBatch& batch) {
    for (int64_t b = 0; b < blocks; ++b, block += kBytes) {
      const float scale = load_half(block + 208);
      const auto* factors = reinterpret_cast<const int8_t*>(block + 192);
      for (int64_t g = 0; g < 16; ++g) {
        batch.scales[16 * b + g] = scale * static_cast<float>(factors[g]);
      }
      for (int j = 0; j < kRows; ++j) {
        const uint8_t* low = block + 64 * (j / 4) + kRowValues * (j % 2);
        const uint8_t* high = block + 128 + kRowValues * (j / 4);
        join_bits<4, 2>(low, 4 * (j / 2 % 2), high, 2 * (j % 4),
                        batch.quants + kValues * b + kRowValues * j);
      }
    }
  }
};

}  // namespace

MECHSWEEP_MULTIVERSION
void convert_q2_k(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ2K>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_q3_k(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ3K>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_q4_k(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ4K>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_q5_k(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ5K>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_q6_k(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ6K>(bytes, blocks, out);
}

}  // namespace mechsweep
