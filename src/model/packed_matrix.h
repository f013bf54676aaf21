#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/group.h"
#include "model/linear.h"

namespace mechsweep {

/// A matrix [N, K] laid out for products with rows of K floats: strips of kStripColumns of its rows
/// side by side, so that the inner loop reads it from beginning to end. Values are fp32 or the
/// upper halves of fp32 (bfloat16), which the loop widens.
class PackedMatrix {
 public:
  static constexpr int64_t kStripColumns = 48;

  PackedMatrix(const LinearWeight& weight, ComputeType type);

  /// out[i * N + j] = sum over k of input[i][k] * weight[j][k], for n rows. Each sum runs in the
  /// order of k within a part, by fused multiply-add where the processor has it, and over parts as
  /// LinearWeight says; so it does not depend on the other rows.
  void multiply(Rows input, float* out) const;

  [[nodiscard]] int64_t out_features() const { return n_; }
  [[nodiscard]] int64_t in_features() const { return k_; }
  [[nodiscard]] int64_t bytes() const;

 private:
  struct FreeAligned {
    void operator()(void* memory) const;
  };

  int64_t n_;
  int64_t k_;
  std::vector<Range> parts_;
  std::vector<int> joins_;  ///< after each part: how many sums that wait are joined with its own
  bool half_;
  std::unique_ptr<void, FreeAligned> values_;  ///< [strips, K, kStripColumns]
};

/// The nearest bfloat16 (ties to even) of a float, as a float; NaN stays NaN.
float rounded_to_bfloat16(float value);
void round_to_bfloat16(const float* from, int64_t count, float* to);

}  // namespace mechsweep
