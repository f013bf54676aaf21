#include "model/weight_shapes.h"

#include <algorithm>
#include <initializer_list>

#include "model/model.h"

namespace mechsweep {

namespace {

/// Zeros are held for biases that are absent where a neighbour has one.
int64_t zero_biases(std::initializer_list<const TensorRef*> refs,
                    std::initializer_list<int64_t> sizes) {
  int64_t absent = 0;
  bool any = false;
  const int64_t* size = sizes.begin();
  for (const TensorRef* ref : refs) {
    any = any || ref->present();
    absent += ref->present() ? 0 : *size;
    ++size;
  }
  return any ? absent : 0;
}

}  // namespace

WeightShapes weight_shapes(const ModelConfig& config) {
  const int64_t width = config.d_model;
  const int64_t heads = int64_t{config.n_heads} * config.head_size;
  const int64_t kv_heads = int64_t{config.n_kv_heads} * config.head_size;
  const int64_t hidden = config.d_mlp;
  return {.qkv = {heads + 2 * kv_heads, width},
          .out = {width, heads},
          .up = {config.gated_mlp ? 2 * hidden : hidden, width},
          .down = {width, hidden}};
}

bool has_one_table(const Checkpoint& checkpoint, KernelSet kernels) {
  return !checkpoint.tensors.unembedding.present() && keeps_rows(kernels);
}

int64_t resident_weight_bytes(const Checkpoint& checkpoint, KernelSet kernels, ComputeType type) {
  const ModelConfig& config = checkpoint.config;
  const ModelTensors& tensors = checkpoint.tensors;
  const WeightShapes shapes = weight_shapes(config);
  int64_t bytes = 0;
  for (const MatrixShape& shape : {shapes.qkv, shapes.out, shapes.up, shapes.down})
    bytes += config.n_layers * packed_bytes(kernels, type, shape.rows, shape.columns);
  const int64_t vocab = config.vocab_size;
  for (int64_t begin = 0; begin < vocab; begin += Model::kVocabTile)
    bytes += packed_bytes(kernels, ComputeType::float32, std::min(Model::kVocabTile, vocab - begin),
                          config.d_model);
  int64_t values = has_one_table(checkpoint, kernels) ? 0 : vocab * config.d_model;
  for (const ExpectedTensor& tensor : expected_tensors(config, tensors)) {
    const bool is_vector = tensor.shape.size() == 1 && tensor.ref != &tensors.rope_factors;
    if (is_vector) values += tensor.shape[0];
  }
  if (tensors.positions.present()) values += int64_t{config.max_positions} * config.d_model;
  const int64_t heads = shapes.out.columns;
  const int64_t kv_heads = (shapes.qkv.rows - heads) / 2;
  for (const LayerTensors& layer : tensors.layers) {
    values +=
        zero_biases({&layer.q_bias, &layer.k_bias, &layer.v_bias}, {heads, kv_heads, kv_heads});
    if (config.gated_mlp)
      values += zero_biases({&layer.gate_bias, &layer.up_bias}, {config.d_mlp, config.d_mlp});
  }
  return bytes + values * 4;
}

}  // namespace mechsweep
