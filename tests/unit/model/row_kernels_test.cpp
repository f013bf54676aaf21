#include "model/row_kernels.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"

namespace mechsweep {
namespace {

std::vector<float> random_values(int64_t count, uint64_t index) {
  RandomStream random(9, "tests/linear", index);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.uniform() * 2.0 - 1.0);
  return values;
}

float exact_tree(const std::vector<std::vector<float>>& parts, size_t begin, size_t end, size_t i) {
  if (end - begin == 1) return parts[begin][i];
  const size_t middle = begin + (end - begin) / 2;
  return exact_tree(parts, begin, middle, i) + exact_tree(parts, middle, end, i);
}

TEST(TreeSum, AddsInTheOrderOfATree) {
  for (const size_t count : {1U, 2U, 3U, 5U, 8U}) {
    for (const int64_t size : {1, 15, 512, 1300}) {
      std::vector<std::vector<float>> parts;
      std::vector<float*> pointers;
      for (size_t p = 0; p < count; ++p) parts.push_back(random_values(size, 20 + p));
      const std::vector<std::vector<float>> values = parts;
      for (auto& part : parts) pointers.push_back(part.data());
      tree_sum_into_first(pointers, size);
      for (int64_t i = 0; i < size; ++i)
        ASSERT_EQ(parts[0][i], exact_tree(values, 0, count, i)) << count;
    }
  }
}

TEST(RowKernels, NormsAgreeWithDoublePrecision) {
  for (const int64_t width : {1, 10, 16, 36, 576}) {
    const std::vector<float> x = random_values(width, 40);
    const std::vector<float> gain = random_values(width, 41);
    const std::vector<float> bias = random_values(width, 42);
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
    rms_norm_row(x.data(), gain.data(), width, 1e-3F, rms.data());
    layer_norm_row(x.data(), gain.data(), bias.data(), width, 1e-3F, layer.data());
    for (int64_t d = 0; d < width; ++d) {
      const auto g = static_cast<double>(gain[d]);
      const auto b = static_cast<double>(bias[d]);
      const auto value = static_cast<double>(x[d]);
      EXPECT_NEAR(rms[d], g * value / std::sqrt(squares + 1e-3), 2e-6) << width;
      EXPECT_NEAR(layer[d], g * (value - mean) / std::sqrt(variance + 1e-3) + b, 5e-6) << width;
    }
  }
}

TEST(RowKernels, ActivationsAgreeWithDoublePrecision) {
  std::vector<float> x(1603);  // not a whole number of vectors
  std::vector<float> factor(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i) * 0.02F - 16.0F;
    factor[i] = 2.0F - static_cast<float>(i) * 1e-3F;
  }
  std::vector<float> found(x.size());
  for (const bool gated : {false, true})
    for (const ActivationKind kind :
         {ActivationKind::silu, ActivationKind::gelu_tanh, ActivationKind::gelu_erf}) {
      activate_row(kind, x.data(), gated ? factor.data() : nullptr, static_cast<int64_t>(x.size()),
                   found.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const auto v = static_cast<double>(x[i]);
        const double inner = std::sqrt(2.0 / std::acos(-1.0)) * (v + 0.044715 * v * v * v);
        double exact = kind == ActivationKind::silu ? v / (1.0 + std::exp(-v))
                       : kind == ActivationKind::gelu_tanh
                           ? 0.5 * v * (1.0 + std::tanh(inner))
                           : 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0)));
        if (gated) exact *= static_cast<double>(factor[i]);
        EXPECT_NEAR(found[i], exact, 1e-6 * std::max(1.0, std::abs(exact))) << v;
      }
    }
}

}  // namespace
}  // namespace mechsweep
