#include "model/model.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "model/row_kernels.h"

namespace mechsweep {

namespace {

constexpr int kMaxParts = 8;

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
  if (embedding_ != nullptr) {
    std::copy_n(embedding_.get() + token * width, width, out);
  } else {
    unembedding_[token / kVocabTile]->copy_row(token % kVocabTile, out);
  }
  if (config_.embedding_scale != 1.0)
    for (int64_t d = 0; d < width; ++d) out[d] *= static_cast<float>(config_.embedding_scale);
  if (positions_.empty()) return;
  const float* learned = positions_.data() + position * width;
  for (int64_t d = 0; d < width; ++d) out[d] += learned[d];
}

void Model::normalise(const NormWeights& weights, Rows rows, float* out) const {
  const int64_t width = config_.d_model;
  const auto eps = static_cast<float>(config_.norm_eps);
  for (const float* row : rows) {
    if (weights.gain.empty()) {
      std::copy_n(row, width, out);
    } else if (config_.norm == NormKind::layer) {
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

void Model::rotate(int layer, float* vectors, int heads, TokenPlace place) const {
  if (config_.position != PositionKind::rotary) return;
  const Rotations& rope = config_.layer_kind(layer).local_rope ? *local_rope_ : *rope_;
  rope.turn(vectors, heads, config_.head_size, place);
}

AttentionPlace Model::attention_place(int layer, int64_t position) const {
  const int64_t window = config_.layer_kind(layer).window;
  return {.keys = {},
          .position = position,
          .first_key = window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0,
          .scale = static_cast<float>(config_.score_scale(layer)),
          .cap = static_cast<float>(config_.score_cap)};
}

void Model::normalise_heads(const LayerWeights& weights, int64_t rows, float* qkv) const {
  if (config_.qk_norm == QkNormKind::none) return;
  const auto eps = static_cast<float>(config_.norm_eps);
  const int64_t size = config_.head_size;
  const auto normalise_part = [&](const std::vector<float>& gain, int64_t width, float* values) {
    for (int64_t at = 0; at < width; at += std::ssize(gain))
      rms_norm_row(values + at, gain.data(), std::ssize(gain), eps, values + at);
  };
  for (int64_t r = 0; r < rows; ++r) {
    float* row = qkv + r * (config_.n_heads + 2 * config_.n_kv_heads) * size;
    normalise_part(weights.q_norm, config_.n_heads * size, row);
    normalise_part(weights.k_norm, config_.n_kv_heads * size, row + config_.n_heads * size);
  }
}

void Model::project_qkv(int layer, Rows resid, float* qkv) const {
  const LayerWeights& weights = layers_[layer];
  const int64_t width = config_.d_model;
  const auto rows = static_cast<int64_t>(resid.size());
  float* normalised = thread_room(rows * width);
  normalise(weights.attn_norm, resid, normalised);
  multiply(*weights.qkv, rows_at(normalised, resid.size(), width), qkv);
  add_to_rows(weights.qkv_bias, rows, qkv);
  normalise_heads(weights, rows, qkv);
}

void Model::attention_output(int layer, Rows z, float* out) const {
  multiply(*layers_[layer].out, z, out);
  finish_row_parallel(layers_[layer].out_bias, layers_[layer].attn_post_norm,
                      static_cast<int64_t>(z.size()), out);
}

void Model::finish_row_parallel(const std::vector<float>& bias, const NormWeights& norm,
                                int64_t rows, float* out) const {
  const int64_t width = config_.d_model;
  group_->all_reduce_sum({out, static_cast<size_t>(rows * width)});
  add_to_rows(bias, rows, out);
  if (norm.gain.empty()) return;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = out + r * width;
    normalise(norm, {&row, 1}, out + r * width);
  }
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
  finish_row_parallel(layers_[layer].down_bias, layers_[layer].mlp_post_norm,
                      static_cast<int64_t>(hidden.size()), out);
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
  const int64_t size = tile_size(tile);
  const auto rows = static_cast<int64_t>(normalised.size());
  if (!unembedding_bias_.empty())
    for (int64_t r = 0; r < rows; ++r)
      add_row(unembedding_bias_.data() + tile * kVocabTile, size, out + r * size);
  if (config_.logit_cap > 0.0)
    cap_row(out, rows * size, 1.0F, static_cast<float>(config_.logit_cap));
}

}  // namespace mechsweep
