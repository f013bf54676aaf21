#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/json.h"
#include "model/tensor_source.h"

namespace mechsweep {
namespace {

std::vector<uint8_t> from_hex(const std::string& digits) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::vector<float> converted(StorageType type, const std::vector<uint8_t>& bytes, int64_t count) {
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), storage_bytes(type, count));
  std::vector<float> out(static_cast<size_t>(count), std::numeric_limits<float>::quiet_NaN());
  dequantize(type, bytes.data(), count, out.data());
  return out;
}

/// What an IEEE 754 binary16 stands for, by its definition.
float half_value(uint32_t bits) {
  const double sign = (bits & 0x8000U) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>((bits >> 10) & 31U);
  const int fraction = static_cast<int>(bits & 1023U);
  if (exponent == 31) {
    return fraction != 0 ? std::numeric_limits<float>::quiet_NaN()
                         : static_cast<float>(sign * std::numeric_limits<double>::infinity());
  }
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(sign * magnitude);
}

TEST(Dequantize, EveryHalfHasTheValueOfItsDefinition) {
  std::vector<uint8_t> bytes;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    bytes.push_back(static_cast<uint8_t>(bits & 255U));
    bytes.push_back(static_cast<uint8_t>(bits >> 8));
  }
  const std::vector<float> values = converted(StorageType::f16, bytes, 65536);
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float expected = half_value(bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(values[bits])) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[bits]), std::bit_cast<uint32_t>(expected)) << bits;
    }
  }
}

TEST(Dequantize, BrainFloatsAreTheUpperHalfOfAFloat) {
  // 1, -2, 2^-133 (subnormal), -0, infinity.
  const auto values = converted(StorageType::bf16,
                                from_hex("803f00c00100"
                                         "0080807f"),
                                5);
  EXPECT_EQ(values[0], 1.0F);
  EXPECT_EQ(values[1], -2.0F);
  EXPECT_EQ(values[2], std::ldexp(1.0F, -133));
  EXPECT_EQ(values[3], 0.0F);
  EXPECT_TRUE(std::signbit(values[3]));
  EXPECT_TRUE(std::isinf(values[4]));
}

TEST(Dequantize, FloatsAreCopied) {
  const auto values = converted(StorageType::f32, from_hex("0000803f000020c1"), 2);
  EXPECT_EQ(values, (std::vector<float>{1.0F, -10.0F}));
}

TEST(Dequantize, Q4_0LowNibblesAreTheFirstHalfOfABlock) {
  // Scale 0.5; byte i holds low nibble i and high nibble 15 - i.
  std::string block = "0038";
  for (int i = 0; i < 16; ++i) {
    static constexpr char kDigits[] = "0123456789abcdef";
    block += {kDigits[15 - i], kDigits[i]};
  }
  const auto values = converted(StorageType::q4_0, from_hex(block), 32);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(values[i], 0.5F * (static_cast<float>(i) - 8.0F));
    EXPECT_EQ(values[16 + i], 0.5F * (7.0F - static_cast<float>(i)));
  }
}

TEST(Dequantize, Q4_1AddsTheMinimum) {
  // Scale 2, minimum -3; low nibbles 1, high nibbles 15.
  std::string block = "004000c2";
  for (int i = 0; i < 16; ++i) block += "f1";
  const auto values = converted(StorageType::q4_1, from_hex(block), 32);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(values[i], -1.0F);
    EXPECT_EQ(values[16 + i], 27.0F);
  }
}

TEST(Dequantize, Q8_0QuantsAreSigned) {
  // Scale -0.25; quants -128, -1, 0, 1, 127, then zeros.
  std::string block = "00b480ff00017f";
  for (int i = 5; i < 32; ++i) block += "00";
  const auto values = converted(StorageType::q8_0, from_hex(block), 32);
  EXPECT_EQ(values[0], 32.0F);
  EXPECT_EQ(values[1], 0.25F);
  EXPECT_EQ(values[3], -0.25F);
  EXPECT_EQ(values[4], -31.75F);
  for (size_t i = 5; i < 32; ++i) EXPECT_EQ(values[i], 0.0F);
}

TEST(Dequantize, ScalesThatAreNoNumbersGiveNoNumbers) {
  // Q8_0 with an infinite scale and the quants -1, 0, 1: 0 times infinity is NaN.
  std::string block = "007cff0001";
  for (int i = 3; i < 32; ++i) block += "00";
  const auto infinite = converted(StorageType::q8_0, from_hex(block), 32);
  EXPECT_EQ(infinite[0], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(infinite[1]));
  EXPECT_EQ(infinite[2], std::numeric_limits<float>::infinity());
  block.replace(0, 4, "017e");
  for (const float value : converted(StorageType::q8_0, from_hex(block), 32)) {
    EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Dequantize, StorageBytesCountBlocks) {
  EXPECT_EQ(storage_bytes(StorageType::f32, 3), 12);
  EXPECT_EQ(storage_bytes(StorageType::f16, 3), 6);
  EXPECT_EQ(storage_bytes(StorageType::bf16, 3), 6);
  EXPECT_EQ(storage_bytes(StorageType::q4_0, 64), 36);
  EXPECT_EQ(storage_bytes(StorageType::q4_1, 64), 40);
  EXPECT_EQ(storage_bytes(StorageType::q8_0, 64), 68);
  EXPECT_EQ(storage_bytes(StorageType::q8_0, 0), 0);
  EXPECT_EQ(storage_bytes(StorageType::q6_k, 512), 420);
  EXPECT_DEATH(storage_bytes(StorageType::q4_0, 33), "whole blocks");
  EXPECT_DEATH(storage_bytes(StorageType::q4_k, 128), "whole blocks");
}

Json golden_of(StorageType type) {
  std::ifstream file(MECHSWEEP_SOURCE_DIR "/tests/golden/dequant.json");
  return Json::parse(file).at("types").at(std::string(storage_type_name(type)));
}

/// The same bits, but for NaN, which is any NaN.
void expect_same_bits(const std::vector<float>& values, const std::vector<uint8_t>& expected,
                      const std::string& blocks) {
  ASSERT_EQ(values.size() * sizeof(float), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    float reference = 0.0F;
    std::memcpy(&reference, expected.data() + i * sizeof(float), sizeof reference);
    const bool same = std::isnan(reference) ? std::isnan(values[i])
                                            : std::bit_cast<uint32_t>(values[i]) ==
                                                  std::bit_cast<uint32_t>(reference);
    ASSERT_TRUE(same) << "value " << i << " is " << values[i] << ", not " << reference << ", of "
                      << blocks;
  }
}

/// Golden values that the gguf Python package computed.
class DequantizeGolden : public ::testing::TestWithParam<StorageType> {};

TEST_P(DequantizeGolden, BitsAreThoseOfTheReference) {
  const Json golden = golden_of(GetParam());
  EXPECT_EQ(storage_block_size(GetParam()), golden["values_per_block"].get<int64_t>());
  EXPECT_EQ(storage_bytes(GetParam(), storage_block_size(GetParam())),
            golden["bytes_per_block"].get<int64_t>());
  ASSERT_FALSE(golden["cases"].empty());
  for (const Json& one : golden["cases"]) {
    const std::vector<uint8_t> expected = from_hex(one["values"]);
    const auto count = static_cast<int64_t>(expected.size() / sizeof(float));
    const std::vector<float> values = converted(GetParam(), from_hex(one["blocks"]), count);
    expect_same_bits(values, expected, one["blocks"]);
  }
}

/// More blocks in a row than are converted at a time.
TEST_P(DequantizeGolden, ManyBlocksAreConvertedLikeOne) {
  const Json golden = golden_of(GetParam());
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> expected;
  for (int repeat = 0; repeat < 40; ++repeat) {
    for (const Json& one : golden["cases"]) {
      const std::vector<uint8_t> blocks = from_hex(one["blocks"]);
      const std::vector<uint8_t> values = from_hex(one["values"]);
      bytes.insert(bytes.end(), blocks.begin(), blocks.end());
      expected.insert(expected.end(), values.begin(), values.end());
    }
  }
  const auto count = static_cast<int64_t>(expected.size() / sizeof(float));
  expect_same_bits(converted(GetParam(), bytes, count), expected, "all cases");
}

INSTANTIATE_TEST_SUITE_P(Types, DequantizeGolden,
                         ::testing::Values(StorageType::f16, StorageType::bf16, StorageType::q4_0,
                                           StorageType::q4_1, StorageType::q5_0, StorageType::q5_1,
                                           StorageType::q8_0, StorageType::q2_k, StorageType::q3_k,
                                           StorageType::q4_k, StorageType::q5_k, StorageType::q6_k,
                                           StorageType::iq4_nl),
                         [](const auto& tested) {
                           return std::string(storage_type_name(tested.param));
                         });

}  // namespace
}  // namespace mechsweep
