#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace mechsweep {

enum class NormKind { rms, layer };
enum class ActivationKind { silu, gelu_tanh, gelu_erf, relu };
enum class PositionKind { rotary, learned };

/// Norms of queries and keys between projection and rotation: none, one over each head's E numbers,
/// or one over all heads' numbers of a row at once.
enum class QkNormKind { none, per_head, all_heads };
/// How the frequencies of rotary positions are stretched beyond the context of pretraining.
enum class RopeScaling { none, linear, llama3, yarn, dynamic, longrope, factors };

/// Rotary position embedding (Su et al. 2021). Frequency i of the n = dimensions / 2 is
/// theta^(-2 i / dimensions), then scaled. Cosines and sines are multiplied by attention_factor.
struct RopeConfig {
  double theta = 10000.0;
  int dimensions = 0;  ///< leading dimensions of a head that are rotated; even, <= head_size
  /// Neighbours (2 i, 2 i + 1) turn together, as in GPT-J; else i and i + dimensions / 2.
  bool interleaved = false;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1.0;                                   ///< linear, llama3, yarn, dynamic
  int original_positions = 0;                            ///< context of pretraining; not linear's
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  ///< llama3
  double beta_fast = 32.0, beta_slow = 1.0;              ///< yarn
  bool truncate = true;                                  ///< yarn: whole dimensions as bounds
  double attention_factor = 1.0;                         ///< yarn, longrope
  std::vector<double> frequency_factors;  ///< longrope, factors: what each frequency is divided by
  std::vector<double> long_frequency_factors;  ///< the same, of prompts beyond it

  /// Which of the rotations that dynamic and longrope have for prompts of different lengths a
  /// prompt of so many tokens gets: 0 is the one of the original context, and the only one of the
  /// other kinds. Prompts share the rows of a common beginning only where this is the same.
  [[nodiscard]] int64_t rotation_of(int64_t tokens) const {
    if (tokens <= original_positions) return 0;
    return scaling == RopeScaling::dynamic ? tokens : scaling == RopeScaling::longrope ? 1 : 0;
  }
  bool operator==(const RopeConfig&) const = default;
};

/// What layers of one model may differ in.
struct LayerKind {
  int window = 0;             ///< keys that a query sees, itself included; 0: all before it
  bool local_rope = false;    ///< rotates by ModelConfig::local_rope
  double score_factor = 1.0;  ///< on top of the attention scale
  bool operator==(const LayerKind&) const = default;
};

/// What a model is, in the terms that the layers understand. Architecture files map checkpoints
/// to it; nothing else asks for a model's name.
struct ModelConfig {
  std::string architecture;  ///< name in the architecture table
  int n_layers = 0;          ///< L
  int n_heads = 0;           ///< H, query heads
  int n_kv_heads = 0;        ///< K, key/value heads; divides n_heads
  int head_size = 0;         ///< E
  int d_model = 0;           ///< D
  int d_mlp = 0;             ///< F
  int vocab_size = 0;        ///< V
  int max_positions = 0;
  NormKind norm = NormKind::rms;
  double norm_eps = 1e-5;
  ActivationKind activation = ActivationKind::silu;
  bool gated_mlp = true;
  PositionKind position = PositionKind::rotary;
  RopeConfig rope;
  RopeConfig local_rope;               ///< of layers whose kind says so
  double attention_scale = 0.0;        ///< scores are q . k times this
  std::vector<LayerKind> layer_kinds;  ///< [L], or empty: all alike
  QkNormKind qk_norm = QkNormKind::none;
  double score_cap = 0.0;  ///< > 0: scores s become cap tanh(s / cap) before the softmax
  double logit_cap = 0.0;  ///< > 0: the same for logits
  double embedding_scale = 1.0;
  bool parallel_residual = false;  ///< the MLP reads what attention reads; no resid_mid
  bool tied_embeddings = false;
  bool attention_biases = false;  ///< the config promises biases that the layers must then have
  bool mlp_biases = false;
  int bos_token = -1;  ///< -1: the checkpoint names none
  int eos_token = -1;

  [[nodiscard]] LayerKind layer_kind(int layer) const {
    return layer_kinds.empty() ? LayerKind() : layer_kinds[layer];
  }
  [[nodiscard]] double score_scale(int layer) const {
    return attention_scale * layer_kind(layer).score_factor;
  }
  [[nodiscard]] Json to_json() const;
  /// Throws Error{input} when dimensions are missing, negative, absurd or contradict each other.
  void check() const;
  bool operator==(const ModelConfig&) const = default;
};

}  // namespace mechsweep
