#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "model/model_config.h"

namespace mechsweep {

/// theta^(2 i / dimensions), one for each pair of dimensions, for prompts of so many tokens:
/// dynamic scaling has a larger theta for those beyond the original context (the "NTK-aware" base).
std::vector<float> rotary_powers(const RopeConfig& rope, int64_t tokens);

/// The frequencies of a rotary position embedding from rotary_powers for prompts of so many tokens,
/// in fp32. Every step is in fp32 and in the order in which transformers
/// computes it: at long positions one unit in the last place is an angle that can be seen. Scaling
/// by the papers: linear (Chen et al. 2023), llama3 (Meta 2024, Llama 3.1), yarn (Peng et al.
/// 2023, section 3.2), longrope (Ding et al. 2024).
std::vector<float> rotary_frequencies(const RopeConfig& rope, const std::vector<float>& powers,
                                      int64_t tokens);

/// Where a token stands: at a position of a sequence of so many tokens.
struct TokenPlace {
  int32_t position = 0;
  int32_t tokens = 0;
};

/// Turns heads by their positions' angles, as prompts of one length have them.
class Rotary {
 public:
  /// Cosines and sines of the first positions are kept, others computed when they are needed.
  Rotary(const RopeConfig& rope, int64_t tokens, int max_positions);

  /// Rotates `heads` neighbouring heads of `head_size` floats in place.
  void turn(float* vectors, int heads, int64_t head_size, int32_t position) const;

 private:
  /// Cosines then sines of a position's angles, times the attention factor.
  void compute_turns(int32_t position, float* turns) const;

  bool interleaved_ = false;
  float factor_ = 1.0F;
  std::vector<float> frequencies_;
  std::vector<float> turns_;  ///< compute_turns of the first positions
};

/// The rotations of a model's layers for prompts of all lengths. Safe to use from several threads.
class Rotations {
 public:
  Rotations(const RopeConfig& rope, int max_positions);
  void turn(float* vectors, int heads, int64_t head_size, TokenPlace place) const;

 private:
  /// Made when the first prompt of its length comes.
  const Rotary& of(int64_t rotation, int64_t tokens) const;

  RopeConfig rope_;
  Rotary original_;
  mutable std::shared_mutex mutex_;
  mutable std::map<int64_t, std::unique_ptr<Rotary>> others_;  ///< by RopeConfig::rotation_of
};

}  // namespace mechsweep
