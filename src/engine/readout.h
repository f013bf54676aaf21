#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mechsweep {

/// A position whose logits are read, and the tokens that are tracked there.
struct ReadPoint {
  int32_t position = 0;
  std::vector<int32_t> tracked;  ///< the answer first, then wrong ones
};

/// What is kept of the logits at one read point.
struct Reading {
  std::vector<float> tracked_logits;  ///< in the order of ReadPoint::tracked
  double logit_mean = 0.0;            ///< mean over the whole vocabulary
  double logsumexp = 0.0;             ///< natural logarithm of the sum of exp(logit)
  int32_t top1 = -1;                  ///< token with the largest logit, the lowest id among equals

  /// -log softmax(logits)[answer], nats.
  [[nodiscard]] double loss() const { return logsumexp - static_cast<double>(tracked_logits[0]); }
};

}  // namespace mechsweep
