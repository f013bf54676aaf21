#include "model/model.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "model/row_kernels.h"

namespace mechsweep {

namespace {

constexpr int kMaxParts = 8;

/// Positions whose cosines and sines are kept; later ones are computed when they are needed.
constexpr int kTurnsKept = 4096;

void add_to_rows(const std::vector<float>& bias, int64_t rows, float* values) {
  if (bias.empty()) return;
  const auto width = static_cast<int64_t>(bias.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) values[r * width + i] += bias[i];
}

/// Room for what a thread computes between two products, to be used again and again.
float* thread_room(int64_t floats) {
  static thread_local std::vector<float> room;
  if (static_cast<int64_t>(room.size()) < floats) room.resize(floats);
  return room.data();
}

/// Pointers to n rows of `width` floats that follow one another.
std::vector<const float*> rows_at(const float* first, size_t n, int64_t width) {
  std::vector<const float*> rows(n);
  for (size_t i = 0; i < n; ++i) rows[i] = first + static_cast<int64_t>(i) * width;
  return rows;
}

}  // namespace

int attention_parts(const ModelConfig& config) {
  return std::min(kMaxParts, config.n_heads);
}
int mlp_parts(const ModelConfig& config) {
  return std::min(kMaxParts, config.d_mlp);
}

void Model::embed(int32_t token, int32_t position, float* out) const {
  const int64_t width = config_.d_model;
  std::copy_n(embedding_.data() + token * width, width, out);
  if (positions_.empty()) return;
  const float* learned = positions_.data() + position * width;
  for (int64_t d = 0; d < width; ++d) out[d] += learned[d];
}

void Model::normalise(const NormWeights& weights, Rows rows, float* out) const {
  const int64_t width = config_.d_model;
  const auto eps = static_cast<float>(config_.norm_eps);
  for (const float* row : rows) {
    if (config_.norm == NormKind::layer) {
      layer_norm_row(row, weights.gain.data(), weights.bias.data(), width, eps, out);
    } else {
      rms_norm_row(row, weights.gain.data(), width, eps, out);
    }
    out += width;
  }
}

void Model::multiply(const Linear& linear, Rows input, float* out) const {
  linear.forward(input, out);
  multiply_adds_.fetch_add(static_cast<int64_t>(input.size()) * linear.multiply_adds_per_row(),
                           std::memory_order_relaxed);
}

void Model::compute_turns(int32_t position, float* turns) const {
  // Angles in fp32, as transformers computes them: at long positions fp64 angles would differ.
  const size_t half = rope_frequencies_.size();
  for (size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * rope_frequencies_[i];
    turns[i] = std::cos(angle);
    turns[half + i] = std::sin(angle);
  }
}

void Model::keep_turns() {
  const int64_t width = 2 * static_cast<int64_t>(rope_frequencies_.size());
  const int kept = std::min(kTurnsKept, config_.max_positions);
  turns_.resize(kept * width);
  for (int32_t position = 0; position < kept; ++position)
    compute_turns(position, turns_.data() + position * width);
}

void Model::rotate(float* vectors, int heads, int32_t position) const {
  if (config_.position != PositionKind::rotary) return;
  const auto half = static_cast<int64_t>(rope_frequencies_.size());
  const float* turns = turns_.data() + position * 2 * half;
  std::vector<float> computed;
  if (position * 2 * half >= static_cast<int64_t>(turns_.size())) {
    computed.resize(2 * half);
    compute_turns(position, computed.data());
    turns = computed.data();
  }
  rotate_heads(vectors, heads, config_.head_size, turns, half);
}

void Model::project_qkv(int layer, Rows resid, float* qkv) const {
  const LayerWeights& weights = layers_[layer];
  const int64_t width = config_.d_model;
  float* normalised = thread_room(static_cast<int64_t>(resid.size()) * width);
  normalise(weights.attn_norm, resid, normalised);
  multiply(*weights.qkv, rows_at(normalised, resid.size(), width), qkv);
  add_to_rows(weights.qkv_bias, static_cast<int64_t>(resid.size()), qkv);
}

void Model::attention_output(int layer, Rows z, float* out) const {
  multiply(*layers_[layer].out, z, out);
  finish_row_parallel(layers_[layer].out_bias, static_cast<int64_t>(z.size()), out);
}

void Model::finish_row_parallel(const std::vector<float>& bias, int64_t rows, float* out) const {
  group_->all_reduce_sum({out, static_cast<size_t>(rows * config_.d_model)});
  add_to_rows(bias, rows, out);
}

void Model::mlp_norm(int layer, Rows resid, float* normalised) const {
  normalise(layers_[layer].mlp_norm, resid, normalised);
}

void Model::mlp_hidden(int layer, Rows normalised, float* hidden) const {
  const LayerWeights& weights = layers_[layer];
  const int64_t units = config_.d_mlp;
  const int64_t width = weights.up->out_features();
  const auto rows = static_cast<int64_t>(normalised.size());
  float* values = thread_room(rows * width);
  multiply(*weights.up, normalised, values);
  add_to_rows(weights.up_bias, rows, values);
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = values + r * width;
    activate_row(config_.activation, row, config_.gated_mlp ? row + units : nullptr, units,
                 hidden + r * units);
  }
}

void Model::mlp_output(int layer, Rows hidden, float* out) const {
  multiply(*layers_[layer].down, hidden, out);
  finish_row_parallel(layers_[layer].down_bias, static_cast<int64_t>(hidden.size()), out);
}

const float* Model::value_bias(int layer, int kv_head) const {
  const std::vector<float>& bias = layers_[layer].qkv_bias;
  if (bias.empty()) return nullptr;
  return bias.data() + int64_t{config_.n_heads + config_.n_kv_heads + kv_head} * config_.head_size;
}

void Model::final_norm(Rows resid, float* normalised) const {
  normalise(final_norm_, resid, normalised);
}

void Model::logits(int64_t tile, Rows normalised, float* out) const {
  multiply(*unembedding_[tile], normalised, out);
}

}  // namespace mechsweep
