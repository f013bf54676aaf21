#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace mechsweep {

enum class NormKind { rms, layer };
enum class ActivationKind { silu, gelu_tanh, gelu_erf };
enum class PositionKind { rotary, learned };

/// Rotary position embedding (Su et al. 2021), in the half-split layout of transformers.
struct RopeConfig {
  double theta = 10000.0;
  int dimensions = 0;  ///< leading dimensions of a head that are rotated; even, <= head_size
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
  double attention_scale = 0.0;  ///< scores are q . k times this
  bool tied_embeddings = false;
  bool attention_biases = false;  ///< the config promises biases that the layers must then have
  bool mlp_biases = false;
  int bos_token = -1;  ///< -1: the checkpoint names none
  int eos_token = -1;

  [[nodiscard]] Json to_json() const;
  /// Throws Error{input} when dimensions are missing, negative, absurd or contradict each other.
  void check() const;
};

}  // namespace mechsweep
