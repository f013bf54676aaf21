#include <cstring>

#include "model/half_float.h"
#include "model/quant_batch.h"
#include "model/quant_blocks.h"

// Blocks of 32 values: an fp16 scale, in some formats an fp16 minimum, in some a word with the
// fifth bits, then 4 or 8 bits a value. The low nibbles of 16 bytes are values 0 to 15, the high
// nibbles values 16 to 31.

namespace mechsweep {
namespace {

constexpr int64_t kNibbleBytes = 16;

template <int64_t BlockBytes>
MECHSWEEP_INLINE void unpack_halves(const uint8_t* __restrict bytes, int64_t blocks,
                                    float* __restrict out) {
  for (int64_t b = 0; b < blocks; ++b) out[b] = load_half(bytes + BlockBytes * b);
}

template <int64_t BlockBytes>
MECHSWEEP_INLINE void unpack_words(const uint8_t* bytes, int64_t blocks, uint32_t* out) {
  for (int64_t b = 0; b < blocks; ++b) std::memcpy(out + b, bytes + BlockBytes * b, sizeof *out);
}

template <int64_t BlockBytes>
MECHSWEEP_INLINE void unpack_nibbles(const uint8_t* __restrict bytes, int64_t blocks,
                                     uint8_t* __restrict out) {
  for (int64_t b = 0; b < blocks; ++b, bytes += BlockBytes, out += 2 * kNibbleBytes) {
    for (int64_t i = 0; i < kNibbleBytes; ++i) out[i] = bytes[i] & 15;
    for (int64_t i = 0; i < kNibbleBytes; ++i) out[kNibbleBytes + i] = bytes[i] >> 4;
  }
}

struct SmallBlockTraits : BlockTraits {
  static constexpr int64_t kValues = 32;
  static constexpr int64_t kGroup = 32;
};

/// Scale d; value = d (q - 8).
struct BlockQ4_0 : SmallBlockTraits {
  static constexpr int64_t kBytes = kHalfBytes + kNibbleBytes;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant - 8; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* bytes, int64_t blocks, QuantBatch& batch) {
    unpack_halves<kBytes>(bytes, blocks, batch.scales);
    unpack_nibbles<kBytes>(bytes + 2, blocks, batch.quants);
  }
};

/// Scale d, minimum m; value = d q + m.
struct BlockQ4_1 : SmallBlockTraits {
  static constexpr int64_t kBytes = 2 * kHalfBytes + kNibbleBytes;
  static constexpr bool kHasMinimum = true;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* bytes, int64_t blocks, QuantBatch& batch) {
    unpack_halves<kBytes>(bytes, blocks, batch.scales);
    unpack_halves<kBytes>(bytes + 2, blocks, batch.minima);
    unpack_nibbles<kBytes>(bytes + 4, blocks, batch.quants);
  }
};

/// Scale d, fifth bits; value = d (q - 16).
struct BlockQ5_0 : SmallBlockTraits {
  static constexpr int64_t kBytes = kHalfBytes + 4 + kNibbleBytes;
  static constexpr bool kHasFifthBits = true;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant - 16; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* bytes, int64_t blocks, QuantBatch& batch) {
    unpack_halves<kBytes>(bytes, blocks, batch.scales);
    unpack_words<kBytes>(bytes + 2, blocks, batch.fifth_bits);
    unpack_nibbles<kBytes>(bytes + 6, blocks, batch.quants);
  }
};

/// Scale d, minimum m, fifth bits; value = d q + m.
struct BlockQ5_1 : SmallBlockTraits {
  static constexpr int64_t kBytes = 2 * kHalfBytes + 4 + kNibbleBytes;
  static constexpr bool kHasMinimum = true;
  static constexpr bool kHasFifthBits = true;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return quant; }
  MECHSWEEP_INLINE static void unpack(const uint8_t* bytes, int64_t blocks, QuantBatch& batch) {
    unpack_halves<kBytes>(bytes, blocks, batch.scales);
    unpack_halves<kBytes>(bytes + 2, blocks, batch.minima);
    unpack_words<kBytes>(bytes + 4, blocks, batch.fifth_bits);
    unpack_nibbles<kBytes>(bytes + 8, blocks, batch.quants);
  }
};

/// Scale d; value = d times one of 16 levels that are closer together near zero.
struct BlockIq4Nl : SmallBlockTraits {
  static constexpr int64_t kBytes = kHalfBytes + kNibbleBytes;
  MECHSWEEP_INLINE static int32_t number(int32_t quant) { return static_cast<int8_t>(quant); }
  MECHSWEEP_INLINE static void unpack(const uint8_t* bytes, int64_t blocks, QuantBatch& batch) {
    // One instruction looks up sixteen bytes; as a loop over a table it would be a load for each.
    using Bytes16 __attribute__((vector_size(kNibbleBytes))) = uint8_t;
    using Levels16 __attribute__((vector_size(kNibbleBytes))) = int8_t;
    const Levels16 levels = {-127, -104, -83, -65, -49, -35, -22, -10,
                             1,    13,   25,  38,  53,  69,  89,  113};
    unpack_halves<kBytes>(bytes, blocks, batch.scales);
    uint8_t* out = batch.quants;
    for (int64_t b = 0; b < blocks; ++b, bytes += kBytes, out += kValues) {
      Bytes16 nibbles;
      std::memcpy(&nibbles, bytes + 2, sizeof nibbles);
      const Levels16 first = __builtin_shuffle(levels, nibbles & 15);
      const Levels16 second = __builtin_shuffle(levels, nibbles >> 4);
      std::memcpy(out, &first, sizeof first);
      std::memcpy(out + kNibbleBytes, &second, sizeof second);
    }
  }
};

}  // namespace

MECHSWEEP_MULTIVERSION
void convert_q4_0(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ4_0>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_q4_1(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ4_1>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_q5_0(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ5_0>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_q5_1(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockQ5_1>(bytes, blocks, out);
}

MECHSWEEP_MULTIVERSION
void convert_iq4_nl(const uint8_t* bytes, int64_t blocks, float* out) {
  convert_blocks<BlockIq4Nl>(bytes, blocks, out);
}

// value = d q, q signed: bytes already, so there is nothing to take apart.
MECHSWEEP_MULTIVERSION
void convert_q8_0(const uint8_t* __restrict bytes, int64_t blocks, float* __restrict out) {
  constexpr int64_t kValues = 32;
  for (int64_t b = 0; b < blocks; ++b, bytes += kHalfBytes + kValues, out += kValues) {
    const float scale = load_half(bytes);
    const auto* quants = reinterpret_cast<const int8_t*>(bytes + kHalfBytes);
    for (int64_t i = 0; i < kValues; ++i) out[i] = scale * static_cast<float>(quants[i]);
  }
}

}  // namespace mechsweep
