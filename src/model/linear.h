#pragma once

#include <optional>
#include <vector>

#include <ATen/ATen.h>

#include "model/kernel_set.h"

namespace mechsweep {

/// Every kernel always sees this many rows, the last panel padded, so that the same code path runs
/// whatever a row's neighbours are. 128 reaches the speed of larger panels and wastes little on
/// short batches.
inline constexpr int64_t kPanelRows = 128;

/// y = x W^T for panels of rows, with the weight packed once for the kernel.
class Linear {
 public:
  Linear() = default;
  /// `weight` [N, K] fp32, contiguous; it is not kept unless the kernel set works on it as it is.
  Linear(const at::Tensor& weight, KernelSet kernels);

  /// `panel` [kPanelRows, K] fp32 with contiguous rows; gives [kPanelRows, N].
  [[nodiscard]] at::Tensor forward(const at::Tensor& panel) const;
  [[nodiscard]] int64_t out_features() const { return out_features_; }
  [[nodiscard]] bool defined() const { return weight_.defined(); }

 private:
  at::Tensor weight_;
  int64_t out_features_ = 0;
  KernelSet kernels_ = KernelSet::onednn;
};

/// Sum of contiguous fp32 tensors of one shape in the order of a binary tree over their indices:
/// parts [0, n) as sum[0, n/2) + sum[n/2, n). Ranks that hold contiguous subtrees can add theirs
/// first and get the same bits. Overwrites `parts`; the result is parts[0].
at::Tensor tree_sum(std::vector<at::Tensor>& parts);

}  // namespace mechsweep
