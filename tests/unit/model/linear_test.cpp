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
#include "nearest_number.h"

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

/// What this processor can multiply by a kernel set: native all, the libraries float32 at least.
std::vector<ComputeType> types_of(KernelSet kernels) {
  std::vector<ComputeType> types;
  for (const auto type : {ComputeType::float32, ComputeType::bfloat16, ComputeType::float16}) {
    try {
      require_kernels(kernels, type);
      types.push_back(type);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::resource);
      EXPECT_NE(kernels, KernelSet::native);
      EXPECT_NE(type, ComputeType::float32);
    }
  }
  return types;
}

/// A few times half the last place of numbers near 1.
double result_rounding(ComputeType type) {
  if (type == ComputeType::float32) return 0.0;
  return type == ComputeType::bfloat16 ? 0.01 : 0.00125;
}

class LinearKernel : public ::testing::TestWithParam<Case> {
 protected:
  LinearKernel() : pool_(1) {}
  ThreadPool pool_;  // one thread inside library kernels
};

TEST_P(LinearKernel, AgreesWithDoublePrecision) {
  const Case shape = GetParam();
  const std::vector<float> weight = random_values(shape.out * shape.in, 0);
  for (const ComputeType type : types_of(shape.kernels)) {
    const auto linear = make_linear(weight_of(weight, shape), shape.kernels, type);
    EXPECT_EQ(linear->out_features(), shape.out);
    // fp32 sums of terms below 1; the libraries round each part's result to the type.
    const double rounding = shape.kernels == KernelSet::native ? 0.0 : result_rounding(type);
    const double room = (1e-6 + rounding) * std::sqrt(static_cast<double>(shape.in));
    for (const int64_t n : {1, 3, 7, 64, 128}) {
      const ScatteredRows input(n, shape.in, static_cast<uint64_t>(n));
      std::vector<float> found(n * shape.out);
      linear->forward(input.rows(), found.data());
      for (int64_t r = 0; r < n; ++r)
        for (int64_t j = 0; j < shape.out; ++j) {
          double exact = 0.0;
          for (int64_t k = 0; k < shape.in; ++k)
            exact += test_model::nearest_number(type, input.rows()[r][k]) *
                     test_model::nearest_number(type, weight[j * shape.in + k]);
          EXPECT_NEAR(found[r * shape.out + j], exact, room) << compute_type_name(type);
        }
    }
  }
}

/// x y - z, where x y needs twice the digits of its factors and z is x y rounded: nothing is left
/// unless products and sums are kept in fp32.
TEST_P(LinearKernel, ProductsAndSumsAreFp32) {
  const Case shape = GetParam();
  if (shape.in < 2) return;  // a sum of one term
  for (const ComputeType type : types_of(shape.kernels)) {
    if (type == ComputeType::float32) continue;
    const float last = type == ComputeType::float16 ? 0x1p-10F : 0x1p-7F;
    std::vector<float> weight(shape.out * shape.in, 0.0F);
    for (int64_t j = 0; j < shape.out; ++j) {
      weight[j * shape.in] = 1.0F + last;
      weight[j * shape.in + 1] = -1.0F;
    }
    std::vector<float> row(shape.in, 1.0F);
    row[0] = 1.0F + last;
    row[1] = 1.0F + 2.0F * last;
    const float* alone = row.data();
    std::vector<float> found(shape.out);
    make_linear(weight_of(weight, shape), shape.kernels, type)->forward({&alone, 1}, found.data());
    for (const float value : found) EXPECT_EQ(value, last * last) << compute_type_name(type);
  }
}

TEST_P(LinearKernel, ARowDependsOnItselfOnly) {
  const Case shape = GetParam();
  const std::vector<float> weight = random_values(shape.out * shape.in, 2);
  const std::vector<float> row = random_values(shape.in, 3);
  for (const ComputeType type : types_of(shape.kernels)) {
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

/// 65519 is nearest to the largest number, 65520 a tie with what would be the next one.
TEST(PackedMatrix, InputsBeyondFloat16AreInfinite) {
  const std::vector<float> weight = {1.0F, 0.5F};
  const float rows[3][2] = {{65519.0F, 0.0F}, {65520.0F, 1.0F}, {-1e6F, 1.0F}};
  std::vector<float> out;
  for (const auto& row : rows) {
    const float* input = row;
    PackedMatrix({.values = weight.data(), .out_features = 1, .in_features = 2, .parts = {}},
                 ComputeType::float16)
        .multiply({&input, 1}, &out.emplace_back());
  }
  EXPECT_THAT(out, ::testing::ElementsAre(65504.0F, std::numeric_limits<float>::infinity(),
                                          -std::numeric_limits<float>::infinity()));
}

TEST(PackedMatrix, BytesAreThoseOfTheType) {
  const std::vector<float> weight(96 * 10, 1.0F);
  const auto bytes = [&](ComputeType type) {
    return PackedMatrix(
               {.values = weight.data(), .out_features = 96, .in_features = 10, .parts = {}}, type)
        .bytes();
  };
  EXPECT_EQ(bytes(ComputeType::float32), 96 * 10 * 4);
  EXPECT_EQ(bytes(ComputeType::bfloat16), 96 * 10 * 2);
  EXPECT_EQ(bytes(ComputeType::float16), 96 * 10 * 2);
}

TEST(ComputeTypeNames, AreReadBack) {
  EXPECT_THAT(compute_type_names(), ::testing::ElementsAre("float32", "bfloat16", "float16"));
  for (const std::string& name : compute_type_names())
    EXPECT_EQ(compute_type_name(parse_compute_type(name)), name);
  try {
    parse_compute_type("half");
    FAIL() << "an unknown name was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_STREQ(error.what(), "unknown dtype 'half'; known: float32, bfloat16, float16");
  }
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
