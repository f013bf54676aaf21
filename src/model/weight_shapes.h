#pragma once

#include <cstdint>

#include "model/checkpoint.h"
#include "model/linear.h"

namespace mechsweep {

/// [rows, columns] of a matrix that a model multiplies by.
struct MatrixShape {
  int64_t rows = 0;
  int64_t columns = 0;
  [[nodiscard]] int64_t values() const { return rows * columns; }
};

/// Of the matrices of each layer, as LayerWeights describes them.
struct WeightShapes {
  MatrixShape qkv, out, up, down;
};
WeightShapes weight_shapes(const ModelConfig& config);

/// Whether embedding and unembedding are held as one: they are tied, and the kernels can give the
/// rows of what they multiply by.
bool has_one_table(const Checkpoint& checkpoint, KernelSet kernels);

/// Bytes of all weights of a model once it is loaded (Model::weight_bytes), from headers alone.
int64_t resident_weight_bytes(const Checkpoint& checkpoint, KernelSet kernels, ComputeType type);

}  // namespace mechsweep
