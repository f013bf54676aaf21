#include "model/linear.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "model/packed_matrix.h"

namespace mechsweep {
namespace {

std::vector<float> random_values(int64_t count, uint64_t index) {
  RandomStream random(9, "tests/linear", index);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.uniform() * 2.0 - 1.0);
  return values;
}

/// Rows that lie scattered, as the engine's do.
class ScatteredRows {
 public:
  ScatteredRows(int64_t rows, int64_t width, uint64_t index)
      : values_(random_values(rows * (width + 7), index)) {
    for (int64_t r = rows - 1; r >= 0; --r) rows_.push_back(values_.data() + r * (width + 7));
  }
  [[nodiscard]] Rows rows() const { return rows_; }
  void replace(size_t place, const float* row) { rows_[place] = row; }

 private:
  std::vector<float> values_;
  std::vector<const float*> rows_;
};

struct Case {
  KernelSet kernels;
  int64_t out;
  int64_t in;
  int parts;
};

LinearWeight weight_of(const std::vector<float>& values, const Case& shape) {
  LinearWeight weight{
      .values = values.data(), .out_features = shape.out, .in_features = shape.in, .parts = {}};
  for (int part = 0; shape.parts > 1 && part < shape.parts; ++part)
    weight.parts.push_back(even_part(shape.in, shape.parts, part));
  return weight;
}

class LinearKernel : public ::testing::TestWithParam<Case> {
 protected:
  LinearKernel() : pool_(1) {}
  ThreadPool pool_;  // one thread inside library kernels
};

TEST_P(LinearKernel, AgreesWithDoublePrecision) {
  const Case shape = GetParam();
  const std::vector<float> weight = random_values(shape.out * shape.in, 0);
  for (const auto type : {ComputeType::float32, ComputeType::bfloat16}) {
    const auto linear = make_linear(weight_of(weight, shape), shape.kernels, type);
    EXPECT_EQ(linear->out_features(), shape.out);
    const bool half = type == ComputeType::bfloat16;
    const auto rounded = [half](float x) { return half ? rounded_to_bfloat16(x) : x; };
    for (const int64_t n : {1, 3, 7, 64, 128}) {
      const ScatteredRows input(n, shape.in, static_cast<uint64_t>(n));
      std::vector<float> found(n * shape.out);
      linear->forward(input.rows(), found.data());
      for (int64_t r = 0; r < n; ++r)
        for (int64_t j = 0; j < shape.out; ++j) {
          double exact = 0.0;
          for (int64_t k = 0; k < shape.in; ++k)
            exact += static_cast<double>(rounded(input.rows()[r][k])) *
                     static_cast<double>(rounded(weight[j * shape.in + k]));
          // fp32 sums of terms below 1; the libraries round a bf16 product's parts to 8 bits.
          const bool rounds = half && shape.kernels != KernelSet::native;
          const double room = 1e-6 * std::sqrt(static_cast<double>(shape.in)) +
                              (rounds ? 0.01 * std::sqrt(static_cast<double>(shape.in)) : 0.0);
          EXPECT_NEAR(found[r * shape.out + j], exact, room);
        }
    }
  }
}

TEST_P(LinearKernel, ARowDependsOnItselfOnly) {
  const Case shape = GetParam();
  const std::vector<float> weight = random_values(shape.out * shape.in, 2);
  const std::vector<float> row = random_values(shape.in, 3);
  for (const auto type : {ComputeType::float32, ComputeType::bfloat16}) {
    const auto linear = make_linear(weight_of(weight, shape), shape.kernels, type);
    std::vector<float> expected(shape.out);
    const float* alone = row.data();
    linear->forward({&alone, 1}, expected.data());
    for (const int64_t n : {2, 5, 8, 13, 127, 128})
      for (const int64_t place : {int64_t{0}, n / 2, n - 1}) {
        ScatteredRows input(n, shape.in, static_cast<uint64_t>(100 + n));
        input.replace(place, row.data());
        std::vector<float> found(n * shape.out);
        linear->forward(input.rows(), found.data());
        EXPECT_EQ(std::memcmp(found.data() + place * shape.out, expected.data(),
                              shape.out * sizeof(float)),
                  0)
            << n << " rows, place " << place;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kernels, LinearKernel,
    ::testing::Values(Case{KernelSet::native, 96, 64, 1}, Case{KernelSet::native, 37, 10, 1},
                      Case{KernelSet::native, 1, 1, 1}, Case{KernelSet::native, 100, 70, 8},
                      Case{KernelSet::native, 48, 33, 3}, Case{KernelSet::onednn, 96, 64, 1},
                      Case{KernelSet::onednn, 37, 10, 1}, Case{KernelSet::onednn, 100, 70, 8},
                      Case{KernelSet::onednn, 1, 1, 1}, Case{KernelSet::aten, 96, 64, 1},
                      Case{KernelSet::aten, 37, 10, 3}),
    [](const auto& instance) {
      return fmt::format("{}_{}x{}_{}", kernel_set_name(instance.param.kernels), instance.param.out,
                         instance.param.in, instance.param.parts);
    });

/// With weights and inputs that are powers of two of very different size, the order of additions
/// decides the result: part sums first, then the tree over parts.
TEST(PackedMatrix, AddsPartsAsATree) {
  const std::vector<float> input = {1e8F, 1.0F, -1e8F, 1.0F, 1e8F, 1.0F, -1e8F, 1.0F};
  const std::vector<float> ones(input.size(), 1.0F);
  const float* row = input.data();
  const auto sum = [&](std::vector<Range> parts) {
    float out = 0.0F;
    PackedMatrix({.values = ones.data(), .out_features = 1, .in_features = 8, .parts = parts},
                 ComputeType::float32)
        .multiply({&row, 1}, &out);
    return out;
  };
  // In order: (1e8 + 1) rounds to 1e8, so ones survive only after each cancellation: 1, then 1.
  EXPECT_EQ(sum({}), 1.0F);
  // ((1e8+1) + (-1e8+1)) + ((1e8+1) + (-1e8+1)) in parts of two: every one is lost.
  EXPECT_EQ(sum({{0, 2}, {2, 4}, {4, 6}, {6, 8}}), 0.0F);
  // Parts {1e8}, {1, -1e8, 1}, {...}: the tree joins ((p0 + (p1 + p2))) for three parts.
  EXPECT_EQ(sum({{0, 1}, {1, 4}, {4, 8}}), (1e8F + ((1.0F - 1e8F + 1.0F) + 1.0F)));
}

TEST(PackedMatrix, RoundsToBfloat16LikeTheFormat) {
  EXPECT_EQ(rounded_to_bfloat16(1.0F), 1.0F);
  EXPECT_EQ(rounded_to_bfloat16(1.00390625F), 1.0F);       // tie: to even
  EXPECT_EQ(rounded_to_bfloat16(1.01171875F), 1.015625F);  // tie: to even, upwards
  EXPECT_EQ(rounded_to_bfloat16(1.0039064F), 1.0078125F);  // just above a tie
  EXPECT_EQ(rounded_to_bfloat16(3.4e38F), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(rounded_to_bfloat16(std::numeric_limits<float>::quiet_NaN())));
}

TEST(KernelSetNames, AreReadBack) {
  for (const auto kernels : {KernelSet::native, KernelSet::onednn, KernelSet::aten})
    EXPECT_EQ(parse_kernel_set(std::string(kernel_set_name(kernels))), kernels);
  try {
    parse_kernel_set("cublas");
    FAIL() << "an unknown name was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("native"));
  }
}

}  // namespace
}  // namespace mechsweep
