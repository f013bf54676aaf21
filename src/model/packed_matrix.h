#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/group.h"
#include "model/linear.h"

namespace mechsweep {

/// A matrix [N, K] laid out for products with rows of K floats: strips of kStripColumns of its rows
/// side by side, so that the inner loop reads it from beginning to end. Values are fp32 or of
/// 16 bits; of those a strip at a time is widened.
class PackedMatrix {
 public:
  static constexpr int64_t kStripColumns = 48;

  PackedMatrix(const LinearWeight& weight, ComputeType type);

  /// out[i * N + j] = sum over k of input[i][k] * weight[j][k], for n rows. Each sum runs in the
  /// order of k within a part, by fused multiply-add where the processor has it, and over parts as
  /// LinearWeight says; so it does not depend on the other rows.
  void multiply(Rows input, float* out) const;

  /// K floats: row `row` of the weight, rounded to the type.
  void copy_row(int64_t row, float* out) const;

  [[nodiscard]] int64_t out_features() const { return n_; }
  [[nodiscard]] int64_t in_features() const { return k_; }
  [[nodiscard]] int64_t bytes() const;

 private:
  struct FreeAligned {
    void operator()(void* memory) const;
  };

  /// Fills a strip with the rows of a weight that begin at `first`.
  void fill_strip(int64_t strip, const float* first);

  int64_t n_;
  int64_t k_;
  std::vector<Range> parts_;
  std::vector<int> joins_;  ///< after each part: how many sums that wait are joined with its own
  ComputeType type_;
  std::unique_ptr<void, FreeAligned> values_;  ///< [strips, K, kStripColumns]
};

}  // namespace mechsweep
