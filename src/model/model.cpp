#include "model/model.h"

#include <cmath>

#include "core/error.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

constexpr int kMaxParts = 8;

at::Tensor activate(ActivationKind kind, const at::Tensor& values) {
  switch (kind) {
    case ActivationKind::silu:
      return at::silu(values);
    case ActivationKind::gelu_tanh:
      return at::gelu(values, "tanh");
    case ActivationKind::gelu_erf:
      return at::gelu(values, "none");
  }
  ensure(false, "unknown activation");
  return {};
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
  if (config_.norm == NormKind::layer)
    return at::layer_norm(rows, {config_.d_model}, weights.gain, weights.bias, config_.norm_eps);
  return at::rms_norm(rows, {config_.d_model}, weights.gain, config_.norm_eps);
}

void Model::rotate(float* row, int heads, int32_t position) const {
  // Angles in fp32, as transformers computes them: at long positions fp64 angles would differ.
  const auto half = static_cast<int64_t>(rope_frequencies_.size());
  for (int64_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * rope_frequencies_[i];
    const float cosine = std::cos(angle);
    const float sine = std::sin(angle);
    for (int head = 0; head < heads; ++head) {
      float* x = row + int64_t{head} * config_.head_size;
      const float a = x[i];
      const float b = x[i + half];
      x[i] = a * cosine - b * sine;
      x[i + half] = b * cosine + a * sine;
    }
  }
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
  const int64_t width = parts * mlp_tile_;
  // Widths are padded to whole vectors, so that the activation has no remainder loop.
  if (config_.gated_mlp) {
    at::Tensor gate = activate(config_.activation, hidden.narrow(1, 0, width).contiguous());
    hidden = gate.mul_(hidden.narrow(1, width, width));
  } else {
    hidden = activate(config_.activation, hidden);
  }
  std::vector<at::Tensor> sums;
  for (int part = 0; part < parts; ++part)
    sums.push_back(weights.down_parts[part].forward(
        hidden.narrow(1, part * mlp_tile_, mlp_tile_).contiguous()));
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
