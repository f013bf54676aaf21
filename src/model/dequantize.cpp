#include <bit>
#include <cstring>

#include "core/error.h"
#include "model/half_float.h"
#include "model/quant_blocks.h"
#include "model/storage_format.h"

namespace mechsweep {

static_assert(std::endian::native == std::endian::little,
              "checkpoints are read as little-endian values");

void convert_f32(const uint8_t* bytes, int64_t blocks, float* out) {
  if (blocks > 0) std::memcpy(out, bytes, static_cast<size_t>(blocks) * sizeof(float));
}

MECHSWEEP_MULTIVERSION
void convert_f16(const uint8_t* __restrict bytes, int64_t blocks, float* __restrict out) {
  for (int64_t i = 0; i < blocks; ++i) out[i] = load_half(bytes + kHalfBytes * i);
}

MECHSWEEP_MULTIVERSION
void convert_bf16(const uint8_t* __restrict bytes, int64_t blocks, float* __restrict out) {
  for (int64_t i = 0; i < blocks; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(load_u16(bytes + kHalfBytes * i)) << 16);
  }
}

void dequantize(StorageType type, const uint8_t* bytes, int64_t count, float* out) {
  const StorageFormat& format = storage_format(type);
  ensure(count >= 0 && count % format.values == 0, "values are not whole blocks");
  format.convert(bytes, count / format.values, out);
}

}  // namespace mechsweep
