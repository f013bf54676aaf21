#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/group.h"
#include "model/checkpoint.h"
#include "model/linear.h"
#include "model/model_config.h"

namespace mechsweep {

struct NormWeights {
  at::Tensor gain;  ///< [D]
  at::Tensor bias;  ///< [D], undefined for RMS norm
};

/// The weights of one layer as its kernels want them. Row-parallel products (attention output, MLP
/// down) are cut into parts whose partial sums are added in a fixed tree order: the same cut for
/// every tensor-parallel degree, so that the degree does not change the order of sums.
struct LayerWeights {
  NormWeights attn_norm;
  Linear qkv;                     ///< [(H + 2 K) E, D]
  at::Tensor qkv_bias;            ///< [(H + 2 K) E] or undefined
  std::vector<Linear> out_parts;  ///< part i: [D, heads of part i times E]
  at::Tensor out_bias;            ///< [D] or undefined
  NormWeights mlp_norm;
  Linear up;  ///< gate (where gated) and up, rows grouped and padded by tile
  at::Tensor up_bias;
  std::vector<Linear> down_parts;  ///< part i: [D, padded tile width]
  at::Tensor down_bias;
};

struct LoadOptions {
  KernelSet kernels = KernelSet::onednn;
};

/// A loaded model: pieces of a transformer layer on panels of rows. A panel is [kPanelRows, ...]
/// fp32; every method treats its rows independently, so a row's result depends on that row only.
/// Methods are const and may be called from several threads; those marked collective must be called
/// by all ranks of the group together.
class Model {
 public:
  /// Reads the weights one tensor at a time. Throws Error{input} on damaged files.
  Model(const Checkpoint& checkpoint, Group& group, const LoadOptions& options);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] KernelSet kernels() const { return kernels_; }

  /// Token plus learned position embeddings of n tokens, into n rows [n, D] at `out`.
  void embed(std::span<const int32_t> tokens, std::span<const int32_t> positions, float* out) const;

  /// Norm, projections, bias and rotation: queries then keys then values, [kPanelRows, (H+2K) E].
  /// `positions`: kPanelRows absolute positions (any valid number on padding rows).
  [[nodiscard]] at::Tensor project_qkv(int layer, const at::Tensor& resid,
                                       std::span<const int32_t> positions) const;
  /// Collective. The attention block's contribution to the residual from z [kPanelRows, H E].
  [[nodiscard]] at::Tensor attention_output(int layer, const at::Tensor& z) const;
  /// Collective. The MLP's contribution to the residual from resid_mid [kPanelRows, D].
  [[nodiscard]] at::Tensor mlp_output(int layer, const at::Tensor& resid_mid) const;

  [[nodiscard]] at::Tensor final_norm(const at::Tensor& resid) const;
  /// Unembedding in tiles of the vocabulary: tile i holds logits of tokens
  /// [i * kVocabTile, min(V, (i + 1) * kVocabTile)).
  [[nodiscard]] int64_t vocab_tiles() const { return static_cast<int64_t>(unembedding_.size()); }
  [[nodiscard]] at::Tensor logits(int64_t tile, const at::Tensor& normalised) const;
  static constexpr int64_t kVocabTile = 4096;

  /// Bytes of all weights held.
  [[nodiscard]] int64_t weight_bytes() const { return weight_bytes_; }

 private:
  friend class ModelLoader;

  [[nodiscard]] at::Tensor normalise(const NormWeights& weights, const at::Tensor& rows) const;
  /// Turns the queries and keys of a row.
  void rotate(float* row, int heads, int32_t position) const;
  /// Cosines then sines of a position's angles.
  void compute_turns(int32_t position, float* turns) const;
  void keep_turns();

  ModelConfig config_;
  KernelSet kernels_;
  Group* group_;
  at::Tensor embedding_;  ///< [V, D]
  at::Tensor positions_;  ///< [max_positions, D] or undefined
  std::vector<LayerWeights> layers_;
  NormWeights final_norm_;
  std::vector<Linear> unembedding_;
  std::vector<float> rope_frequencies_;  ///< one for each pair of rotated dimensions
  std::vector<float> turns_;             ///< compute_turns of the first positions
  int64_t mlp_tile_ = 0;                 ///< padded width of an MLP tile
  int64_t weight_bytes_ = 0;
};

/// Parts that row-parallel products are cut into.
int attention_parts(const ModelConfig& config);
int mlp_parts(const ModelConfig& config);

}  // namespace mechsweep
