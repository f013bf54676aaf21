#pragma once

#include <cstdint>
#include <vector>

#include "core/group.h"
#include "model/arch/architecture.h"
#include "model/tensor_source.h"

// From what a TensorRef names to fp32 numbers in their place: rows, pieces, transposition,
// interleaved heads and norms stored as differences from 1 are resolved while reading, a part of
// the tensor at a time and by several threads, so that nothing but small buffers is needed beside
// the result. Parts are read in the order of the file, each byte once.

namespace mechsweep {

class ThreadPool;

/// [out, in] of what a ref stands for. A vector has one column.
struct TensorExtent {
  int64_t rows = 0;
  int64_t columns = 0;
  [[nodiscard]] int64_t values() const { return rows * columns; }
};

/// Throws Error{input} on a missing tensor.
TensorExtent tensor_extent(const TensorSource& source, const TensorRef& ref);

/// `rows` and `columns` of what a ref stands for (after all that the ref says), fp32, row-major, to
/// `out` [rows, columns]. Of the file only the bytes of this slice are read. Throws Error{input} as
/// TensorSource does: on a missing tensor, a short file, or a cut through a quantised type's
/// blocks.
void read_tensor(const TensorSource& source, const TensorRef& ref, Range rows, Range columns,
                 ThreadPool& threads, float* out);

/// All of it, [out, in].
void read_tensor(const TensorSource& source, const TensorRef& ref, ThreadPool& threads, float* out);
std::vector<float> tensor_values(const TensorSource& source, const TensorRef& ref,
                                 ThreadPool& threads);

/// The same rows in as few refs as possible: neighbours that take neighbouring rows of one tensor
/// become one, so that q, k and v, for instance, are read together where they are stored together.
std::vector<TensorRef> joined_refs(const std::vector<TensorRef>& refs);

}  // namespace mechsweep
