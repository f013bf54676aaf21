#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "experiments/experiment.h"

namespace mechsweep {

/// A run that asks, for every place of a grid of interventions, what becomes of the answer: the
/// part that ablations and patching share. It stores, for the base run, for the donor run where
/// there is one, and for every intervention: loss, tracked logits, vocabulary mean, logsumexp and
/// top-1.
class EffectRun : public Run {
 public:
  /// `grid` are the intervention axes (the first one is cut into units); `donor` the side that
  /// edits take values from, if any. Throws Error{input} when a prompt has no target or lacks a
  /// side.
  EffectRun(const RunContext& context, Side base, std::optional<Side> donor,
            std::vector<Axis> grid);

  [[nodiscard]] std::vector<ArraySpec> arrays() const override;
  [[nodiscard]] std::vector<StageSpec> stages() const override;
  [[nodiscard]] double flops(int stage, int64_t prompt, int64_t first) const override;
  [[nodiscard]] UnitResult execute(int stage, Range prompts, Range first,
                                   Executor& executor) const override;

 protected:
  /// The edits at one place of the grid (an index for every axis) on one prompt; none where the
  /// place does not apply to the prompt (a position past its end): its numbers are NaN.
  [[nodiscard]] virtual std::optional<std::vector<Edit>> edits(
      const Prompt& prompt, std::span<const int64_t> place) const = 0;

  /// Attributes that all effect runs share: base, donor, conventions.
  [[nodiscard]] Json shared_attributes() const;
  [[nodiscard]] const RunContext& context() const { return context_; }
  [[nodiscard]] const std::vector<Prompt>& prompts() const { return context_.prompts->prompts; }

 private:
  static constexpr int kReferenceStage = 0;
  static constexpr int kEditedStage = 1;

  [[nodiscard]] UnitResult run_references(Range prompts, Executor& executor) const;
  [[nodiscard]] ArrayBlock tracked_tokens(Range prompts) const;
  [[nodiscard]] UnitResult run_edited(Range prompts, Range first, Executor& executor) const;

  RunContext context_;
  Side base_;
  std::optional<Side> donor_;
  std::vector<Axis> grid_;
  int64_t max_targets_ = 0;
  int64_t max_tracked_ = 0;
  std::vector<std::vector<ReadPoint>> reads_;  ///< per prompt
};

/// The attribute that says whether readings are per prompt or per target.
inline constexpr const char* kTargetAxis = "target";

}  // namespace mechsweep
