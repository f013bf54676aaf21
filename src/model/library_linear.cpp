#include "model/library_linear.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <torch/version.h>

#include "core/error.h"
#include "model/row_kernels.h"

namespace mechsweep {

namespace {

// LibTorch offers these two to C++ through its dispatcher only.
at::Tensor reorder_linear_weight(const at::Tensor& weight) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                             .typed<at::Tensor(const at::Tensor&, std::optional<int64_t>)>();
  return op.call(weight, std::nullopt);
}

at::Tensor linear_pointwise(const at::Tensor& input, const at::Tensor& weight) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
          .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                            c10::string_view, c10::List<std::optional<at::Scalar>>,
                            std::optional<c10::string_view>)>();
  return op.call(input, weight, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(),
                 std::nullopt);
}

at::ScalarType scalar_type(ComputeType type) {
  switch (type) {
    case ComputeType::bfloat16:
      return at::kBFloat16;
    case ComputeType::float16:
      return at::kHalf;
    case ComputeType::float32:
      break;
  }
  return at::kFloat;
}

/// Whether oneDNN multiplies a type of 16 bits on this processor.
bool onednn_multiplies(ComputeType type) {
  const char* question = type == ComputeType::bfloat16 ? "mkldnn::_is_mkldnn_bf16_supported"
                                                       : "mkldnn::_is_mkldnn_fp16_supported";
  return c10::Dispatcher::singleton().findSchemaOrThrow(question, "").typed<bool()>().call();
}

class LibraryLinear final : public Linear {
 public:
  LibraryLinear(const LinearWeight& weight, KernelSet kernels, ComputeType type)
      : n_(weight.out_features),
        k_(weight.in_features),
        parts_(weight.parts),
        kernels_(kernels),
        type_(scalar_type(type)) {
    if (parts_.empty()) parts_.push_back({0, k_});
    const at::NoGradGuard no_grad;
    const at::Tensor whole = at::from_blob(const_cast<float*>(weight.values), {n_, k_}, at::kFloat);
    for (const Range& part : parts_) {
      at::Tensor own =
          whole.narrow(1, part.begin, part.size()).to(type_).clone(at::MemoryFormat::Contiguous);
      weights_.push_back(kernels == KernelSet::onednn ? reorder_linear_weight(own) : own);
    }
  }

  void forward(Rows input, float* out) const override {
    ensure(static_cast<int64_t>(input.size()) <= kPanelRows, "a product was given too many rows");
    const at::NoGradGuard no_grad;
    try {
      std::vector<at::Tensor> sums;
      std::vector<float*> values;
      for (size_t part = 0; part < parts_.size(); ++part) {
        sums.push_back(multiply(input, part));
        values.push_back(sums.back().mutable_data_ptr<float>());
      }
      tree_sum_into_first(values, kPanelRows * n_);
      std::copy_n(values[0], static_cast<int64_t>(input.size()) * n_, out);
    } catch (const c10::Error& error) {
      fail(ErrorKind::resource, "the tensor library failed: {}", error.what_without_backtrace());
    }
  }
  [[nodiscard]] int64_t out_features() const override { return n_; }
  [[nodiscard]] int64_t multiply_adds_per_row() const override { return n_ * k_; }
  [[nodiscard]] int64_t bytes() const override {
    return n_ * k_ * static_cast<int64_t>(at::elementSize(type_));
  }
  void copy_row(int64_t /*row*/, float* /*out*/) const override {
    ensure(false, "a library's layout of a weight was asked for a row");
  }

 private:
  /// [kPanelRows, N] fp32 of one part.
  [[nodiscard]] at::Tensor multiply(Rows input, size_t part) const {
    const int64_t width = parts_[part].size();
    at::Tensor panel = at::empty({kPanelRows, width}, at::kFloat);
    float* to = panel.mutable_data_ptr<float>();
    for (const float* row : input) to = std::copy_n(row + parts_[part].begin, width, to);
    std::fill(to, panel.mutable_data_ptr<float>() + kPanelRows * width, 0.0F);
    panel = panel.to(type_);
    const at::Tensor product = kernels_ == KernelSet::onednn
                                   ? linear_pointwise(panel, weights_[part])
                                   : at::linear(panel, weights_[part]);
    return product.to(at::kFloat);
  }

  int64_t n_;
  int64_t k_;
  std::vector<Range> parts_;
  KernelSet kernels_;
  at::ScalarType type_;
  std::vector<at::Tensor> weights_;  ///< by part
};

}  // namespace

std::string tensor_library_version() {
  return "libtorch " TORCH_VERSION;
}

void require_library_type(KernelSet kernels, ComputeType type) {
  if (type == ComputeType::float32) return;
  try {
    if (onednn_multiplies(type)) return;
  } catch (const c10::Error& error) {
    fail(ErrorKind::resource, "the tensor library failed: {}", error.what_without_backtrace());
  }
  // ATen hands these types to oneDNN as well; its own loops are many times slower.
  fail(ErrorKind::resource,
       "kernels '{}' cannot multiply {} on this processor, which lacks {}; use kernels 'native' or "
       "dtype float32",
       kernel_set_name(kernels), compute_type_name(type),
       type == ComputeType::bfloat16 ? "AVX-512 (or AVX-NE-CONVERT)"
                                     : "AVX512-FP16 (or AVX-NE-CONVERT)");
}

std::unique_ptr<Linear> make_library_linear(const LinearWeight& weight, KernelSet kernels,
                                            ComputeType type) {
  require_library_type(kernels, type);
  try {
    return std::make_unique<LibraryLinear>(weight, kernels, type);
  } catch (const c10::Error& error) {
    fail(ErrorKind::resource, "the tensor library could not pack a weight: {}",
         error.what_without_backtrace());
  }
}

}  // namespace mechsweep
