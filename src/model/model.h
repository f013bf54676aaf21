#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/group.h"
#include "model/attention.h"
#include "model/checkpoint.h"
#include "model/linear.h"
#include "model/model_config.h"
#include "model/rotary.h"

namespace mechsweep {

/// Without a gain there is no norm: rows stay as they are.
struct NormWeights {
  std::vector<float> gain;  ///< [D]
  std::vector<float> bias;  ///< [D], empty for RMS norm
};

/// The weights of one layer as its kernels want them. Row-parallel products (attention output, MLP
/// down) are cut into parts whose partial sums are added in a fixed tree order: the same cut for
/// every tensor-parallel degree, so that the degree does not change the order of sums.
struct LayerWeights {
  NormWeights attn_norm;
  std::unique_ptr<Linear> qkv;  ///< [(H + 2 K) E, D]
  std::vector<float> qkv_bias;  ///< [(H + 2 K) E] or empty
  std::vector<float> q_norm;    ///< gain of the queries' norm: [E], [H E] or empty
  std::vector<float> k_norm;    ///< of the keys': [E], [K E] or empty
  std::unique_ptr<Linear> out;  ///< [D, H E], in parts
  std::vector<float> out_bias;  ///< [D] or empty
  NormWeights attn_post_norm;   ///< of what attention adds
  NormWeights mlp_norm;
  std::unique_ptr<Linear> up;    ///< gate (where gated) then up: [2 F or F, D]
  std::vector<float> up_bias;    ///< like the rows of up, or empty
  std::unique_ptr<Linear> down;  ///< [D, F], in parts
  std::vector<float> down_bias;  ///< [D] or empty
  NormWeights mlp_post_norm;     ///< of what the MLP adds
};

struct LoadOptions {
  KernelSet kernels = KernelSet::native;
  ComputeType type = ComputeType::float32;
  ThreadPool* threads = nullptr;  ///< that read and pack; null: the calling thread does
};

/// A loaded model: pieces of a transformer layer on up to kPanelRows rows. Every method treats its
/// rows independently, so a row's result depends on that row only; results are written one row
/// after another. Methods are const and may be called from several threads; those marked
/// collective must be called by all ranks of the group together.
class Model {
 public:
  /// Reads the weights, each byte once, a tensor (or those that are multiplied as one) at a time:
  /// beside what is kept, memory holds no more than the largest of these. Where the embedding is
  /// tied and the kernels keep rows, it is kept once, as the unembedding. Throws Error{input} on
  /// damaged files and on values that the type cannot hold, Error{resource} when memory runs out.
  Model(const Checkpoint& checkpoint, Group& group, const LoadOptions& options);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] KernelSet kernels() const { return kernels_; }

  /// Token plus learned position embedding, D floats at `out`.
  void embed(int32_t token, int32_t position, float* out) const;

  /// Norm, projections, bias and norms of queries and keys, of resid rows [n, D]: queries, keys,
  /// values side by side, [n, (H + 2 K) E], before rotation.
  void project_qkv(int layer, Rows resid, float* qkv) const;
  /// Rotates `heads` neighbouring heads of queries or keys, E floats each, in place; nothing where
  /// positions are learned.
  void rotate(int layer, float* vectors, int heads, TokenPlace place) const;
  /// What attention at a position needs to know of a layer beside its keys.
  [[nodiscard]] AttentionPlace attention_place(int layer, int64_t position) const;
  /// Collective. The attention block's contribution [n, D] to the residual from z rows [n, H E].
  void attention_output(int layer, Rows z, float* out) const;
  /// Norm [n, D] of rows [n, D] that the MLP reads.
  void mlp_norm(int layer, Rows resid, float* normalised) const;
  /// Hidden units [n, F] of normalised rows [n, D].
  void mlp_hidden(int layer, Rows normalised, float* hidden) const;
  /// Collective. The MLP's contribution [n, D] to the residual from its hidden units [n, F].
  void mlp_output(int layer, Rows hidden, float* out) const;
  /// The value bias of a key/value head, E floats; null where the model has none.
  [[nodiscard]] const float* value_bias(int layer, int kv_head) const;

  void final_norm(Rows resid, float* normalised) const;
  /// Unembedding in tiles of the vocabulary: tile i holds logits of tokens
  /// [i * kVocabTile, min(V, (i + 1) * kVocabTile)).
  [[nodiscard]] int64_t vocab_tiles() const { return static_cast<int64_t>(unembedding_.size()); }
  [[nodiscard]] int64_t tile_size(int64_t tile) const { return unembedding_[tile]->out_features(); }
  /// Logits [n, tile size] of one tile.
  void logits(int64_t tile, Rows normalised, float* out) const;
  static constexpr int64_t kVocabTile = 4096;

  // The linear parts of the way from a component to the logits, for norms that keep the scale that
  // they have at a given row (src/model/model_paths.cpp).

  /// The token's part of embed() and the learned position's, zeros where there is none.
  void embed_token(int32_t token, float* out) const;
  void embed_position(int32_t position, float* out) const;
  /// Collective. What attention_output starts from: W_O z [n, D], without bias and post-norm.
  void attention_product(int layer, Rows z, float* out) const;
  /// The output bias of a layer's attention, D floats; null where there is none.
  [[nodiscard]] const float* attention_bias(int layer) const;
  [[nodiscard]] bool has_attention_post_norm(int layer) const {
    return !layers_[layer].attn_post_norm.gain.empty();
  }
  /// The norm after attention, without its bias, of rows [n, D], with the scale (1 over the root
  /// mean square or the standard deviation) that it has at the row `at`; rows as they are where
  /// there is no such norm.
  void attention_post_norm_at(int layer, const float* at, Rows rows, float* out) const;
  /// The bias of the norm after attention, D floats; null where there is none.
  [[nodiscard]] const float* attention_post_norm_bias(int layer) const;
  /// The final norm likewise.
  void final_norm_at(const float* at, Rows rows, float* out) const;
  [[nodiscard]] const float* final_norm_bias() const;
  /// Products of normalised rows [n, D] with some tokens' rows of the unembedding, [n, tokens]:
  /// logits without bias and soft cap.
  void token_products(std::span<const int32_t> tokens, Rows normalised, double* out) const;
  /// What the unembedding adds to a token's logit; 0 where it has no bias.
  [[nodiscard]] float unembedding_bias(int32_t token) const;

  /// Bytes of all weights held, as they are packed (resident_weight_bytes).
  [[nodiscard]] int64_t weight_bytes() const { return weight_bytes_; }
  /// Floating-point operations of all matrix products so far, a multiply and an add being two.
  [[nodiscard]] double product_flops() const {
    return 2.0 * static_cast<double>(multiply_adds_.load(std::memory_order_relaxed));
  }

 private:
  friend class ModelLoader;

  void normalise(const NormWeights& weights, Rows rows, float* out) const;
  void normalise_at(const NormWeights& weights, const float* at, Rows rows, float* out) const;
  /// The norms of a layer's queries and keys, in place.
  void normalise_heads(const LayerWeights& weights, int64_t rows, float* qkv) const;
  void multiply(const Linear& linear, Rows input, float* out) const;
  /// Adds up partial results of the group's ranks, then the bias, then the norm if there is one.
  void finish_row_parallel(const std::vector<float>& bias, const NormWeights& norm, int64_t rows,
                           float* out) const;

  ModelConfig config_;
  KernelSet kernels_;
  ComputeType type_;
  Group* group_;
  std::unique_ptr<float[]> embedding_;  ///< [V, D]; null: rows of the unembedding serve
  std::vector<float> positions_;        ///< [max_positions, D] or empty
  std::vector<LayerWeights> layers_;
  NormWeights final_norm_;
  std::vector<std::unique_ptr<Linear>> unembedding_;
  std::vector<float> unembedding_bias_;    ///< [V] or empty
  std::unique_ptr<Rotations> rope_;        ///< null where positions are learned
  std::unique_ptr<Rotations> local_rope_;  ///< null where no layer has its own
  int64_t weight_bytes_ = 0;
  mutable std::atomic<int64_t> multiply_adds_ = 0;
};

/// Parts that row-parallel products are cut into.
int attention_parts(const ModelConfig& config);
int mlp_parts(const ModelConfig& config);

}  // namespace mechsweep
