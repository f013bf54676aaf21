#include "model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "core/error.h"

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

std::string_view kernel_set_name(KernelSet kernels) {
  return kernels == KernelSet::onednn ? "onednn" : "aten";
}

KernelSet parse_kernel_set(const std::string& name) {
  if (name == "onednn") return KernelSet::onednn;
  if (name == "aten") return KernelSet::aten;
  fail(ErrorKind::usage, "unknown kernel set '{}'; known: onednn, aten", name);
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
  const auto sum = [&](const auto& self, size_t begin, size_t end) -> at::Tensor {
    if (end - begin == 1) return parts[begin];
    const size_t middle = begin + (end - begin) / 2;
    at::Tensor left = self(self, begin, middle);
    return left.add_(self(self, middle, end));
  };
  return sum(sum, 0, parts.size());
}

}  // namespace mechsweep
