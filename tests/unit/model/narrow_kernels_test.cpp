// Rounding to 16 bits and back: every number of both types, both sides of every tie, all versions
// of the conversions that this processor can run.

#include "model/narrow_kernels.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/half_float.h"
#include "nearest_number.h"

namespace mechsweep {
namespace {

using test_model::nearest_number;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Narrow : public ::testing::TestWithParam<ComputeType> {
 protected:
  /// All 2^16 of them, each in its place.
  static std::vector<uint16_t> all_numbers() {
    std::vector<uint16_t> numbers(1 << 16);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint16_t>(i);
    return numbers;
  }

  /// The number that bits stand for: sign, exponent, fraction. NaN where they are none.
  static double value_of(uint16_t bits) {
    const test_model::BinaryFormat format = test_model::format_of(GetParam());
    const int fraction = bits & ((1 << format.fraction_bits) - 1);
    const int exponent = (bits & 0x7fff) >> format.fraction_bits;
    const bool special = exponent == 0x7fff >> format.fraction_bits;
    const double sign = bits >> 15 == 0 ? 1.0 : -1.0;
    if (special) return fraction == 0 ? sign * kInfinity : std::nan("");
    const int whole = exponent == 0 ? fraction : fraction + (1 << format.fraction_bits);
    return sign * std::ldexp(whole, std::max(exponent, 1) - 1 + format.least_exponent -
                                        format.fraction_bits);
  }

  /// Expects every version to round `values` to the nearest numbers.
  static void expect_nearest(const std::vector<float>& values) {
    int failures = 0;
    for (const NarrowKernels& kernels : narrow_kernels(GetParam())) {
      std::vector<uint16_t> found(values.size());
      kernels.narrow(values.data(), std::ssize(values), found.data());
      for (size_t i = 0; i < values.size() && failures < 10; ++i) {
        const double expected = nearest_number(GetParam(), values[i]);
        const bool same = std::isnan(expected)
                              ? std::isnan(value_of(found[i]))
                              : value_of(found[i]) == expected &&
                                    (found[i] >> 15 != 0) == std::signbit(values[i]);
        if (same) continue;
        ++failures;
        ADD_FAILURE() << fmt::format("{:a} became {:#06x}, which is not {:a}", values[i], found[i],
                                     expected);
      }
    }
  }
};

TEST_P(Narrow, EveryNumberIsWidenedExactly) {
  const std::vector<uint16_t> numbers = all_numbers();
  ASSERT_FALSE(narrow_kernels(GetParam()).empty());
  for (const NarrowKernels& kernels : narrow_kernels(GetParam())) {
    std::vector<float> wide(numbers.size());
    kernels.widen(numbers.data(), std::ssize(numbers), wide.data());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double expected = value_of(numbers[i]);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(wide[i])) << i;
      } else {
        ASSERT_EQ(static_cast<double>(wide[i]), expected) << i;
        ASSERT_EQ(std::signbit(wide[i]), i >= 0x8000) << i;
      }
    }
  }
}

TEST_P(Narrow, EveryNumberSurvivesWideningAndRounding) {
  const std::vector<uint16_t> numbers = all_numbers();
  const uint16_t quiet = GetParam() == ComputeType::float16 ? 0x0200 : 0x0040;
  for (const NarrowKernels& kernels : narrow_kernels(GetParam())) {
    std::vector<float> wide(numbers.size());
    std::vector<uint16_t> back(numbers.size());
    kernels.widen(numbers.data(), std::ssize(numbers), wide.data());
    kernels.narrow(wide.data(), std::ssize(wide), back.data());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const bool nan = std::isnan(value_of(numbers[i]));
      ASSERT_EQ(back[i], nan ? numbers[i] | quiet : numbers[i]) << i;
    }
  }
}

/// Each tie between neighbours, what lies beside it, and the numbers themselves with what lies
/// beside them; also beyond the largest number.
TEST_P(Narrow, RoundsToTheNearestAroundEveryTie) {
  const test_model::BinaryFormat format = test_model::format_of(GetParam());
  std::vector<float> values;
  for (uint16_t bits = 0; std::isfinite(value_of(bits)); ++bits) {
    const double low = value_of(bits);
    const double next = value_of(static_cast<uint16_t>(bits + 1));
    const double step = std::ldexp(1.0, std::ilogb(format.largest) - format.fraction_bits);
    const double high = std::isinf(next) ? low + step : next;
    for (const double middle : {low, (low + high) / 2.0}) {
      const auto center = static_cast<float>(middle);
      ASSERT_EQ(static_cast<double>(center), middle);
      for (const float one :
           {std::nextafter(center, -kInfinity), center, std::nextafter(center, kInfinity)})
        for (const float sign : {1.0F, -1.0F}) values.push_back(sign * one);
    }
  }
  expect_nearest(values);
}

TEST_P(Narrow, RoundsToTheNearestOverTheWholeRange) {
  std::vector<float> values;
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 2039)
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  expect_nearest(values);
}

/// Ends that fill no whole vector, and what stands behind them.
TEST_P(Narrow, AnyCountGivesTheSameBits) {
  std::vector<float> values;
  for (int i = 0; i < 70; ++i)
    values.push_back(std::ldexp(1.0F + 0.013F * static_cast<float>(i), i % 40 - 28));
  for (const NarrowKernels& kernels : narrow_kernels(GetParam()))
    for (int64_t count = 0; count <= std::ssize(values); ++count) {
      std::vector<uint16_t> narrow(values.size(), 0xabcd);
      kernels.narrow(values.data(), count, narrow.data());
      std::vector<float> wide(values.size(), 7.0F);
      kernels.widen(narrow.data(), count, wide.data());
      for (int64_t i = 0; i < count; ++i)
        ASSERT_EQ(static_cast<double>(wide[i]), nearest_number(GetParam(), values[i]));
      for (int64_t i = count; i < std::ssize(values); ++i) {
        ASSERT_EQ(wide[i], 7.0F);
        ASSERT_EQ(narrow[i], 0xabcd);
      }
    }
}

TEST_P(Narrow, RoundToDoesItInPlace) {
  std::vector<float> values(5000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1e-8F * static_cast<float>(i * i * i);
  std::vector<float> rounded = values;
  round_to(GetParam(), rounded.data(), std::ssize(rounded));
  for (size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(static_cast<double>(rounded[i]), nearest_number(GetParam(), values[i])) << i;
}

TEST_P(Narrow, OverflowStartsWhereRoundingGivesInfinity) {
  const double largest = test_model::format_of(GetParam()).largest;
  const double step =
      std::ldexp(1.0, std::ilogb(largest) - test_model::format_of(GetParam()).fraction_bits);
  const auto first = static_cast<float>(largest + step / 2.0);
  const float last = std::nextafter(first, 0.0F);
  EXPECT_EQ(nearest_number(GetParam(), last), largest);
  EXPECT_EQ(nearest_number(GetParam(), first), kInfinity);
  EXPECT_EQ(static_cast<double>(largest_number(GetParam())), largest);
  std::vector<float> values(9000, 0.5F);
  const auto found = [&] { return first_overflow(GetParam(), values.data(), std::ssize(values)); };
  values[10] = last;
  values[11] = -last;
  values[20] = kInfinity;  // was so before
  values[30] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(found(), -1);
  values[8500] = -std::numeric_limits<float>::max();
  EXPECT_EQ(found(), 8500);
  values[8400] = first;
  EXPECT_EQ(found(), 8400);
}

INSTANTIATE_TEST_SUITE_P(Types, Narrow,
                         ::testing::Values(ComputeType::bfloat16, ComputeType::float16),
                         [](const auto& instance) {
                           return std::string(compute_type_name(instance.param));
                         });

TEST(NarrowNumbers, AreThoseOfTheFormats) {
  // Bit patterns as IEEE 754 and tables of its examples give them.
  EXPECT_EQ(float_to_half(1.0F), 0x3c00);
  EXPECT_EQ(float_to_half(-2.0F), 0xc000);
  EXPECT_EQ(float_to_half(1.0F / 3.0F), 0x3555);
  EXPECT_EQ(float_to_half(65504.0F), 0x7bff);
  EXPECT_EQ(float_to_half(65519.996F), 0x7bff);
  EXPECT_EQ(float_to_half(65520.0F), 0x7c00);
  EXPECT_EQ(float_to_half(6.103515625e-5F), 0x0400);     // the smallest normal number
  EXPECT_EQ(float_to_half(5.9604644775390625e-8F), 1);   // the smallest of all
  EXPECT_EQ(float_to_half(2.98023223876953125e-8F), 0);  // a tie with zero
  EXPECT_EQ(float_to_half(-0.0F), 0x8000);
  EXPECT_EQ(float_to_bfloat16(1.00390625F), 0x3f80);  // tie: to even
  EXPECT_EQ(float_to_bfloat16(1.01171875F), 0x3f82);  // tie: to even, upwards
  EXPECT_EQ(float_to_bfloat16(1.0039064F), 0x3f81);   // just above a tie
  EXPECT_EQ(float_to_bfloat16(3.4e38F), 0x7f80);
  // A NaN whose payload is all in the lower half is no infinity.
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7f800001U)))));
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(std::bit_cast<float>(0x7f800001U)))));
}

TEST(NarrowNumbers, Float32StaysAsItIs) {
  float values[] = {1.00000012F, 3.4e38F, 1e-45F, -0.0F};
  float kept[4];
  std::memcpy(kept, values, sizeof values);
  round_to(ComputeType::float32, values, 4);
  EXPECT_EQ(std::memcmp(kept, values, sizeof values), 0);
  EXPECT_EQ(first_overflow(ComputeType::float32, values, 4), -1);
}

}  // namespace
}  // namespace mechsweep
