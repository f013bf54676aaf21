#include "model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>
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

}  // namespace

std::string tensor_library_version() {
  return "libtorch " TORCH_VERSION;
}

Linear::Linear(const at::Tensor& weight, KernelSet kernels)
    : out_features_(weight.size(0)), kernels_(kernels) {
  weight_ = kernels == KernelSet::onednn ? reorder_linear_weight(weight) : weight;
}

at::Tensor Linear::forward(const at::Tensor& panel) const {
  ensure(panel.size(0) == kPanelRows, "a linear layer was given something other than a panel");
  return kernels_ == KernelSet::onednn ? linear_pointwise(panel, weight_)
                                       : at::linear(panel, weight_);
}

at::Tensor tree_sum(std::vector<at::Tensor>& parts) {
  ensure(!parts.empty(), "the sum of no parts was asked for");
  std::vector<float*> values;
  for (at::Tensor& part : parts) {
    ensure(part.is_contiguous() && part.numel() == parts[0].numel(), "parts differ in layout");
    values.push_back(part.mutable_data_ptr<float>());
  }
  tree_sum_into_first(values, parts[0].numel());
  return parts[0];
}

}  // namespace mechsweep
