#pragma once

#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// The numbers of an ablation or patching run: loss, margin (where every prompt has wrong answers),
/// top1, their changes against the base run, recovery where there is a donor, tracked logits, and the
/// base and donor runs' own. NaN where a prompt has no such target or nothing was computed.
std::vector<Metric> derive_effects(const StoredRun& run);

/// How well the model does the task without any edit, and what guessing would give.
struct TaskPerformance {
  double base_loss = 0.0;           ///< mean over targets, then prompts, nats
  double base_accuracy = 0.0;       ///< share of targets whose answer has the largest logit of all
  double candidate_accuracy = 0.0;  ///< share whose answer beats the wrong ones; NaN without wrong
  double chance_loss = 0.0;      ///< ln of the number of candidates, or of the vocabulary
  double chance_accuracy = 0.0;  ///< 1 over that number
  bool has_candidates = false;   ///< chance is among the tracked tokens, not the vocabulary
  /// The model does no better than guessing: a headline on this task says nothing.
  [[nodiscard]] bool fails() const { return !(base_loss < chance_loss); }
};
/// Of an effect run's clean run: its base, or its donor where the base is corrupt.
TaskPerformance task_performance(const StoredRun& run);

}  // namespace mechsweep
