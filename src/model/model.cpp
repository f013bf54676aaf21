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

/// The MLP's nonlinearity, part by part: [kPanelRows, parts * tile] (twice as wide where gated:
/// gate then up) to [parts, kPanelRows, tile].
at::Tensor activate_parts(const ModelConfig& config, const at::Tensor& values, int parts,
                          int64_t tile) {
  at::Tensor source = values;
  at::Tensor out = at::empty({parts, kPanelRows, tile}, at::kFloat);
  const int64_t width = parts * tile;
  ensure(config.activation != ActivationKind::gelu_erf || !config.gated_mlp,
         "gated erf GELU has no kernel yet");
  // Widths are whole vectors, so that ATen's kernel has no remainder loop.
  const bool erf = config.activation == ActivationKind::gelu_erf;
  if (erf) source = at::gelu(values, "none");
  const float* from = source.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  for (int64_t r = 0; r < kPanelRows; ++r)
    for (int part = 0; part < parts; ++part) {
      const float* place = from + r * source.size(1) + part * tile;
      float* target = to + (part * kPanelRows + r) * tile;
      if (erf) {
        std::copy_n(place, tile, target);
      } else {
        activate_row(config.activation, place, config.gated_mlp ? place + width : nullptr, tile,
                     target);
      }
    }
  return out;
}

}  // namespace

int attention_parts(const ModelConfig& config) {
  return std::min(kMaxParts, config.n_heads);
}
int mlp_parts(const ModelConfig& config) {
  return std::min(kMaxParts, config.d_mlp);
}

void Model::embed(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                  float* out) const {
  const int64_t width = config_.d_model;
  const float* table = embedding_.const_data_ptr<float>();
  const float* learned = positions_.defined() ? positions_.const_data_ptr<float>() : nullptr;
  for (size_t i = 0; i < tokens.size(); ++i) {
    float* row = out + static_cast<int64_t>(i) * width;
    const float* token = table + tokens[i] * width;
    for (int64_t d = 0; d < width; ++d)
      row[d] = learned != nullptr ? token[d] + learned[positions[i] * width + d] : token[d];
  }
}

at::Tensor Model::normalise(const NormWeights& weights, const at::Tensor& rows) const {
  at::Tensor out = at::empty(rows.sizes(), at::kFloat);
  const int64_t width = config_.d_model;
  const auto eps = static_cast<float>(config_.norm_eps);
  const float* gain = weights.gain.const_data_ptr<float>();
  for (int64_t r = 0; r < rows.size(0); ++r) {
    const float* from = rows.const_data_ptr<float>() + r * width;
    float* to = out.mutable_data_ptr<float>() + r * width;
    if (config_.norm == NormKind::layer) {
      layer_norm_row(from, gain, weights.bias.const_data_ptr<float>(), width, eps, to);
    } else {
      rms_norm_row(from, gain, width, eps, to);
    }
  }
  return out;
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

void Model::rotate(float* row, int heads, int32_t position) const {
  const auto half = static_cast<int64_t>(rope_frequencies_.size());
  const float* turns = turns_.data() + position * 2 * half;
  std::vector<float> computed;
  if (position * 2 * half >= static_cast<int64_t>(turns_.size())) {
    computed.resize(2 * half);
    compute_turns(position, computed.data());
    turns = computed.data();
  }
  rotate_heads(row, heads, config_.head_size, turns, half);
}

at::Tensor Model::project_qkv(int layer, const at::Tensor& resid,
                              std::span<const int32_t> positions) const {
  const LayerWeights& weights = layers_[layer];
  at::Tensor qkv = weights.qkv.forward(normalise(weights.attn_norm, resid));
  if (weights.qkv_bias.defined()) qkv.add_(weights.qkv_bias);
  if (config_.position == PositionKind::rotary) {
    float* rows = qkv.mutable_data_ptr<float>();
    // Queries and keys lie side by side, so they turn together.
    const int heads = config_.n_heads + config_.n_kv_heads;
    for (int64_t r = 0; r < kPanelRows; ++r) rotate(rows + r * qkv.size(1), heads, positions[r]);
  }
  return qkv;
}

at::Tensor Model::attention_output(int layer, const at::Tensor& z) const {
  const LayerWeights& weights = layers_[layer];
  const int parts = attention_parts(config_);
  std::vector<at::Tensor> sums;
  for (int part = 0; part < parts; ++part) {
    const Range heads = even_part(config_.n_heads, parts, part);
    const at::Tensor slice =
        z.narrow(1, heads.begin * config_.head_size, heads.size() * config_.head_size);
    sums.push_back(weights.out_parts[part].forward(slice.contiguous()));
  }
  at::Tensor out = tree_sum(sums);
  group_->all_reduce_sum({out.mutable_data_ptr<float>(), static_cast<size_t>(out.numel())});
  if (weights.out_bias.defined()) out.add_(weights.out_bias);
  return out;
}

at::Tensor Model::mlp_output(int layer, const at::Tensor& resid_mid) const {
  const LayerWeights& weights = layers_[layer];
  at::Tensor hidden = weights.up.forward(normalise(weights.mlp_norm, resid_mid));
  if (weights.up_bias.defined()) hidden.add_(weights.up_bias);
  const int parts = mlp_parts(config_);
  hidden = activate_parts(config_, hidden, parts, mlp_tile_);
  std::vector<at::Tensor> sums;
  for (int part = 0; part < parts; ++part)
    sums.push_back(weights.down_parts[part].forward(hidden.select(0, part)));
  at::Tensor out = tree_sum(sums);
  group_->all_reduce_sum({out.mutable_data_ptr<float>(), static_cast<size_t>(out.numel())});
  if (weights.down_bias.defined()) out.add_(weights.down_bias);
  return out;
}

at::Tensor Model::final_norm(const at::Tensor& resid) const {
  return normalise(final_norm_, resid);
}

at::Tensor Model::logits(int64_t tile, const at::Tensor& normalised) const {
  return unembedding_[tile].forward(normalised);
}

}  // namespace mechsweep
