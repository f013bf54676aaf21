#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/intervention.h"

namespace mechsweep {

/// A position whose logits are read, and what is kept of them beside the always cheap.
struct ReadPoint {
  int32_t position = 0;
  std::vector<int32_t> tracked;  ///< the answer first, then wrong ones
  bool rank = false;             ///< count the tokens with a larger logit than tracked[0]
  int32_t top_k = 0;             ///< tokens with the largest logits to keep
  std::vector<Side> kl;          ///< unedited runs p of the same prompt: KL(p || this)
  bool full_logits = false;
};

/// What is kept of the logits at one read point.
struct Reading {
  std::vector<float> tracked_logits;  ///< in the order of ReadPoint::tracked
  double logit_mean = 0.0;            ///< mean over the whole vocabulary
  double logsumexp = 0.0;             ///< natural logarithm of the sum of exp(logit)
  int32_t top1 = -1;                  ///< token with the largest logit, the lowest id among equals
  int32_t answer_rank = -1;           ///< where ReadPoint::rank; -1 without and when it is NaN
  std::vector<std::pair<int32_t, float>> top;  ///< token and logit, largest first, low ids first
  std::vector<double> kl;                      ///< in the order of ReadPoint::kl, nats
  std::vector<float> logits;                   ///< [V] where full_logits

  /// -log softmax(logits)[answer], nats.
  [[nodiscard]] double loss() const { return logsumexp - static_cast<double>(tracked_logits[0]); }
};

/// An activation to keep: a whole site at one position (all heads; not pattern), as it is after
/// the task's edits.
struct ActivationPoint {
  Site site = Site::z;
  int layer = 0;
  int32_t position = 0;
  auto operator<=>(const ActivationPoint&) const = default;
};

}  // namespace mechsweep
