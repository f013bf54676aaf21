#pragma once

#include <cstdint>
#include <vector>

#include "model/model_config.h"

namespace mechsweep {

/// The frequencies of a rotary position embedding. `powers`: theta^(2 i / dimensions) in fp32, one
/// for each pair of dimensions. Every step is in fp32 and in the order in which transformers
/// computes it: at long positions one unit in the last place is an angle that can be seen. Scaling
/// by the papers: linear (Chen et al. 2023), llama3 (Meta 2024, Llama 3.1), yarn (Peng et al.
/// 2023, section 3.2), longrope (Ding et al. 2024, the factors of short prompts).
std::vector<float> rotary_frequencies(const RopeConfig& rope, std::vector<float> powers);

/// Turns heads by their positions' angles.
class Rotary {
 public:
  Rotary() = default;
  /// Cosines and sines of the first positions are kept, others computed when they are needed.
  Rotary(const RopeConfig& rope, std::vector<float> powers, int max_positions);

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

}  // namespace mechsweep
