#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/group.h"
#include "model/kernel_set.h"

namespace mechsweep {

class ThreadPool;

/// Up to kPanelRows rows of floats, wherever they lie.
using Rows = std::span<const float* const>;

/// Rows that are worked on together. Library kernels always see this many, the last panel padded,
/// so that the same code path runs whatever a row's neighbours are. 128 reaches the speed of larger
/// panels and wastes little on short batches.
inline constexpr int64_t kPanelRows = 128;

/// What weights are rounded to, and what matrix products take. Everything between products
/// (residual stream, norms, rotation, attention, softmax, sums) is fp32 whatever the type, and so
/// are the final norm and the unembedding (docs/engine.md).
enum class ComputeType { float32, bfloat16, float16 };
std::string_view compute_type_name(ComputeType type);
/// Throws Error{usage} for an unknown name.
ComputeType parse_compute_type(const std::string& name);
/// The names there are, the default first.
const std::vector<std::string>& compute_type_names();
/// Of a value that is stored in the type.
int64_t compute_type_bytes(ComputeType type);

/// Each of `count` values becomes the nearest one that the type can hold, ties to even: infinite
/// beyond the largest number, NaN stays NaN, float32 changes nothing.
void round_to(ComputeType type, float* values, int64_t count);
/// The index of the first finite value that round_to would make infinite; -1 if there is none.
int64_t first_overflow(ComputeType type, const float* values, int64_t count);
/// 65504 for float16.
float largest_number(ComputeType type);

/// Throws Error{resource} where this processor cannot multiply a type by a kernel set: oneDNN and
/// ATen take those of 16 bits only where the processor has instructions for them.
void require_kernels(KernelSet kernels, ComputeType type);

/// y = x W^T on rows, with the weight packed once for its kernel. A row's result depends on that
/// row only: not on its neighbours, their number or its place. Safe to call from several threads.
class Linear {
 public:
  virtual ~Linear() = default;
  /// input: n <= kPanelRows rows of K floats; out: [n, N], rows one after another. With a type of
  /// 16 bits the input is rounded to it; sums are fp32; oneDNN and ATen round the result, too.
  virtual void forward(Rows input, float* out) const = 0;
  [[nodiscard]] virtual int64_t out_features() const = 0;
  /// N K.
  [[nodiscard]] virtual int64_t multiply_adds_per_row() const = 0;
  /// Bytes of the packed weight: packed_bytes of its shape.
  [[nodiscard]] virtual int64_t bytes() const = 0;
  /// Row `row` of the weight, K floats, as products take it. Only where keeps_rows(kernels).
  virtual void copy_row(int64_t row, float* out) const = 0;
};

/// A weight [N, K] fp32, row-major, which is copied.
struct LinearWeight {
  const float* values = nullptr;
  int64_t out_features = 0;  ///< N
  int64_t in_features = 0;   ///< K
  /// Cuts of K: each part is summed by itself, and the parts in the order of a binary tree over
  /// their indices ([0, n) as [0, n/2) + [n/2, n)). Ranks that hold contiguous subtrees can add
  /// theirs first and get the same bits. Empty: one part.
  std::vector<Range> parts;
  ThreadPool* threads = nullptr;  ///< that pack; null: the calling thread does
};
/// Bytes that a weight [N, K] takes once it is packed.
int64_t packed_bytes(KernelSet kernels, ComputeType type, int64_t out_features,
                     int64_t in_features);
/// Whether there is Linear::copy_row: libraries do not say in which order they keep numbers.
bool keeps_rows(KernelSet kernels);
/// Throws Error{resource} as require_kernels does, or where the library fails.
std::unique_ptr<Linear> make_linear(const LinearWeight& weight, KernelSet kernels,
                                    ComputeType type);

}  // namespace mechsweep
