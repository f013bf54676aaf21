#pragma once

#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// The numbers of an effect run: loss, margin (left out only when no target at all has wrong
/// answers), top1, their changes against the base run, recovery where there is a donor, tracked
/// logits, answer_rank, kl_base and kl_donor where stored, and the base and donor runs' own.
/// Metrics tell broken values, which are no numbers though they should be. NaN where a prompt has
/// no such target, where a target has no wrong answers (margins), or where nothing was computed: a
/// mean margin is one over the targets that have it. Throws Error{input} when datasets are missing
/// or their shapes do not go together.
std::vector<Metric> derive_effects(const StoredRun& run);

/// How well the model does the task without any edit, and what guessing would give.
struct TaskPerformance {
  double base_loss = 0.0;      ///< mean over targets, then prompts, nats
  double base_accuracy = 0.0;  ///< share of targets whose answer has the largest logit of all
  /// Mean of -log softmax over the tracked logits alone, which is what ln of their number is chance
  /// for. Over the targets that have wrong answers, like the next one; NaN when there is none.
  double candidate_loss = 0.0;
  double candidate_accuracy = 0.0;  ///< share whose answer beats the wrong ones
  double chance_loss = 0.0;         ///< ln of the number of candidates, or of the vocabulary
  double chance_accuracy = 0.0;     ///< 1 over that number
  /// Every target has wrong answers: chance is among the tracked tokens, not the vocabulary.
  bool has_candidates = false;
  /// The model does no better than guessing: a headline on this task says nothing.
  [[nodiscard]] bool fails() const {
    return !((has_candidates ? candidate_loss : base_loss) < chance_loss);
  }
};
/// Of an effect run's clean run: its base, or its donor where the base is corrupt. Prompts that are
/// not computed in full do not count.
TaskPerformance task_performance(const StoredRun& run);

}  // namespace mechsweep
