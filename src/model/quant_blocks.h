#pragma once

#include <cstdint>

// The converters of the storage types. The block formats are those of ggml (ggml-common.h,
// block_q4_0 and so on). The results are those of its documented arithmetic bit for bit: a scale is
// an fp16 number or its product with a small integer, a value the product of a scale and a small
// integer, all of which fp32 holds exactly, and where a minimum is taken away there is one rounding
// at the end. So they do not depend on the instruction set, nor on whether a compiler fuses the
// product with the difference. A scale that is infinite or NaN gives infinities and NaN where the
// arithmetic does (0 times infinity is NaN); the bits of a NaN are not promised.

namespace mechsweep {

// Each converts `blocks` whole blocks that lie one after another.

// One value a block.
void convert_f32(const uint8_t* bytes, int64_t blocks, float* out);
void convert_f16(const uint8_t* bytes, int64_t blocks, float* out);
void convert_bf16(const uint8_t* bytes, int64_t blocks, float* out);

// 32 values a block.
void convert_q4_0(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q4_1(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q5_0(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q5_1(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q8_0(const uint8_t* bytes, int64_t blocks, float* out);
void convert_iq4_nl(const uint8_t* bytes, int64_t blocks, float* out);

// 256 values a block.
void convert_q2_k(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q3_k(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q4_k(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q5_k(const uint8_t* bytes, int64_t blocks, float* out);
void convert_q6_k(const uint8_t* bytes, int64_t blocks, float* out);

}  // namespace mechsweep
