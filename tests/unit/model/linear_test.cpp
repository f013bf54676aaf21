#include "model/linear.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "model/row_kernels.h"

namespace mechsweep {
namespace {

at::Tensor random_tensor(std::vector<int64_t> shape, uint64_t index) {
  RandomStream random(9, "tests/linear", index);
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* data = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i)
    data[i] = static_cast<float>(random.uniform() * 2.0 - 1.0);
  return tensor;
}

struct Case {
  KernelSet kernels;
  int64_t out;
  int64_t in;
};

class LinearKernel : public ::testing::TestWithParam<Case> {
 protected:
  LinearKernel() : pool_(1) {}
  ThreadPool pool_;  // one thread inside kernels
};

TEST_P(LinearKernel, AgreesWithDoublePrecision) {
  const auto [kernels, out, in] = GetParam();
  const at::Tensor weight = random_tensor({out, in}, 0);
  const at::Tensor panel = random_tensor({kPanelRows, in}, 1);
  const Linear linear(weight, kernels);
  EXPECT_EQ(linear.out_features(), out);
  const at::Tensor found = linear.forward(panel);
  ASSERT_EQ(found.sizes(), (std::vector<int64_t>{kPanelRows, out}));
  const float* w = weight.const_data_ptr<float>();
  const float* x = panel.const_data_ptr<float>();
  for (int64_t r = 0; r < kPanelRows; ++r)
    for (int64_t n = 0; n < out; ++n) {
      double exact = 0.0;
      for (int64_t k = 0; k < in; ++k)
        exact += static_cast<double>(x[r * in + k]) * static_cast<double>(w[n * in + k]);
      EXPECT_NEAR(found.const_data_ptr<float>()[r * out + n], exact,
                  1e-6 * std::sqrt(static_cast<double>(in)));
    }
}

TEST_P(LinearKernel, ARowDependsOnItselfOnly) {
  const auto [kernels, out, in] = GetParam();
  const Linear linear(random_tensor({out, in}, 2), kernels);
  const at::Tensor row = random_tensor({1, in}, 3);
  const at::Tensor expected = linear.forward(row.expand({kPanelRows, in}).contiguous());
  for (const int64_t place : {0, 1, 5, 63, 126, 127}) {
    at::Tensor panel = random_tensor({kPanelRows, in}, 4 + static_cast<uint64_t>(place));
    panel.select(0, place).copy_(row.select(0, 0));
    const at::Tensor found = linear.forward(panel);
    EXPECT_EQ(std::memcmp(found.const_data_ptr<float>() + place * out,
                          expected.const_data_ptr<float>(), out * sizeof(float)),
              0)
        << place;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, LinearKernel,
                         ::testing::Values(Case{KernelSet::onednn, 96, 64},
                                           Case{KernelSet::onednn, 37, 10},
                                           Case{KernelSet::onednn, 1, 1},
                                           Case{KernelSet::aten, 96, 64},
                                           Case{KernelSet::aten, 37, 10}),
                         [](const auto& param_info) {
                           return fmt::format("{}_{}x{}", kernel_set_name(param_info.param.kernels),
                                              param_info.param.out, param_info.param.in);
                         });

TEST(KernelSetName, IsReadBackAndUnknownOnesAreRefused) {
  for (const KernelSet kernels : {KernelSet::onednn, KernelSet::aten})
    EXPECT_EQ(parse_kernel_set(std::string(kernel_set_name(kernels))), kernels);
  try {
    parse_kernel_set("cublas");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("cublas"));
  }
}

float exact_tree(const std::vector<std::vector<float>>& parts, size_t begin, size_t end, size_t i) {
  if (end - begin == 1) return parts[begin][i];
  const size_t middle = begin + (end - begin) / 2;
  return exact_tree(parts, begin, middle, i) + exact_tree(parts, middle, end, i);
}

TEST(TreeSum, AddsInTheOrderOfATree) {
  for (const size_t count : {1U, 2U, 3U, 5U, 8U}) {
    for (const int64_t size : {1, 15, 512, 1300}) {
      std::vector<at::Tensor> parts;
      std::vector<std::vector<float>> values;
      for (size_t p = 0; p < count; ++p) {
        parts.push_back(random_tensor({size}, 20 + p));
        const float* data = parts.back().const_data_ptr<float>();
        values.emplace_back(data, data + size);
      }
      const at::Tensor sum = tree_sum(parts);
      for (int64_t i = 0; i < size; ++i)
        ASSERT_EQ(sum.const_data_ptr<float>()[i], exact_tree(values, 0, count, i)) << count;
    }
  }
}

TEST(RowKernels, NormsAgreeWithDoublePrecision) {
  for (const int64_t width : {1, 10, 16, 36, 576}) {
    const at::Tensor row = random_tensor({width}, 40);
    const at::Tensor gain = random_tensor({width}, 41);
    const at::Tensor bias = random_tensor({width}, 42);
    const float* x = row.const_data_ptr<float>();
    const auto n = static_cast<double>(width);
    double squares = 0.0;
    double mean = 0.0;
    for (int64_t d = 0; d < width; ++d) {
      squares += static_cast<double>(x[d]) * static_cast<double>(x[d]) / n;
      mean += static_cast<double>(x[d]) / n;
    }
    const double variance = squares - mean * mean;
    std::vector<float> rms(width);
    std::vector<float> layer(width);
    rms_norm_row(x, gain.const_data_ptr<float>(), width, 1e-3F, rms.data());
    layer_norm_row(x, gain.const_data_ptr<float>(), bias.const_data_ptr<float>(), width, 1e-3F,
                   layer.data());
    for (int64_t d = 0; d < width; ++d) {
      const auto g = static_cast<double>(gain.const_data_ptr<float>()[d]);
      const auto b = static_cast<double>(bias.const_data_ptr<float>()[d]);
      const auto value = static_cast<double>(x[d]);
      EXPECT_NEAR(rms[d], g * value / std::sqrt(squares + 1e-3), 2e-6) << width;
      EXPECT_NEAR(layer[d], g * (value - mean) / std::sqrt(variance + 1e-3) + b, 5e-6) << width;
    }
  }
}

TEST(RowKernels, ActivationsAgreeWithDoublePrecision) {
  std::vector<float> x(1600);
  std::vector<float> factor(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i) * 0.02F - 16.0F;
    factor[i] = 2.0F - static_cast<float>(i) * 1e-3F;
  }
  std::vector<float> found(x.size());
  for (const bool gated : {false, true})
    for (const ActivationKind kind : {ActivationKind::silu, ActivationKind::gelu_tanh}) {
      activate_row(kind, x.data(), gated ? factor.data() : nullptr, static_cast<int64_t>(x.size()),
                   found.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const auto v = static_cast<double>(x[i]);
        const double inner = std::sqrt(2.0 / std::acos(-1.0)) * (v + 0.044715 * v * v * v);
        double exact = kind == ActivationKind::silu ? v / (1.0 + std::exp(-v))
                                                    : 0.5 * v * (1.0 + std::tanh(inner));
        if (gated) exact *= static_cast<double>(factor[i]);
        EXPECT_NEAR(found[i], exact, 1e-6 * std::max(1.0, std::abs(exact))) << v;
      }
    }
}

}  // namespace
}  // namespace mechsweep
