#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "experiments/experiment.h"
#include "experiments/readouts.h"

namespace mechsweep {

/// A run that asks, for every place of a grid of interventions, what becomes of the answer: the
/// part that ablations, patching and listed interventions share. It stores, for the base run, for
/// the donor run where there is one, and for every intervention: loss, tracked logits, vocabulary
/// mean, logsumexp, top-1, and the readouts that were asked for.
class EffectRun : public Run {
 public:
  struct Spec {
    Side base = Side::clean;
    std::optional<Side> donor;  ///< the prompt's other run that edits take values from, if any
    std::vector<Axis> grid;     ///< intervention axes; the first one is cut into units
    Readouts readouts;
    int stage = 0;  ///< the number of the stage that computes all this
    /// By prompt: 0 where nothing is computed, so that its numbers stay NaN and its tracked tokens
    /// -1. Empty: all are computed.
    std::vector<uint8_t> evaluated;
    /// By prompt: what else of it the cost of an intervention depends on, beside what
    /// intervention() says. Empty: nothing.
    std::vector<std::string> cost_keys;
  };
  /// Throws Error{input} when a prompt has no target or lacks a side, Error{usage} when the
  /// readouts do not fit the model.
  EffectRun(const RunContext& context, Spec spec);

  [[nodiscard]] std::vector<ArraySpec> arrays() const override;
  [[nodiscard]] std::vector<StageSpec> stages() const override;
  [[nodiscard]] double flops(int stage, int64_t prompt, int64_t first) const override;
  [[nodiscard]] double shared_flops(int stage, int64_t prompt) const override;
  [[nodiscard]] UnitResult execute(int stage, Range prompts, Range first,
                                   const UnitInputs& inputs) const override;

 protected:
  /// What to do with a prompt at a place, as intervention() says it.
  using InterventionOf =
      std::function<std::optional<Intervention>(int64_t prompt, std::span<const int64_t> place)>;

  /// What to do with one prompt at one place of the grid (an index for every axis); nothing where
  /// the place does not apply to the prompt (a position past its end): its numbers are NaN then.
  /// Donors' prompts are numbered as in the run's set, -1 the prompt itself. `executor` is null
  /// when only the cost is asked for: sums for means are left out then. What an intervention costs
  /// may depend on the prompt only through its length, targets, spans and pairs.
  [[nodiscard]] virtual std::optional<Intervention> intervention(int64_t prompt,
                                                                 std::span<const int64_t> place,
                                                                 Executor* executor) const = 0;

  /// execute() with interventions of another origin.
  [[nodiscard]] UnitResult execute_with(Range prompts, Range first, Executor& executor,
                                        const InterventionOf& intervention_of) const;

  /// Attributes that all effect runs share: base, donor, conventions.
  [[nodiscard]] Json shared_attributes() const;
  [[nodiscard]] const RunContext& context() const { return context_; }
  [[nodiscard]] const std::vector<Prompt>& prompts() const { return context_.prompts->prompts; }

 private:
  /// FLOPs of a prompt.
  struct Costs {
    std::vector<double> places;  ///< by place of the first axis; empty: not computed yet
    double shared = 0.0;
  };

  void add_prompt(const Prompt& prompt);
  [[nodiscard]] bool is_evaluated(int64_t prompt) const {
    return spec_.evaluated.empty() || spec_.evaluated[prompt] != 0;
  }
  /// The base, and the donor if there is one: their readings come with the unit that begins the
  /// grid, since every unit computes these runs anyway.
  [[nodiscard]] std::vector<Side> unedited_sides() const;
  /// Index of the first array of an unedited side, or, after the last side, of the grid's arrays.
  [[nodiscard]] int first_array_of(int64_t side) const {
    return static_cast<int>(side) * reference_shape_.arrays() + (side > 0 ? 1 : 0);
  }
  [[nodiscard]] ArrayBlock tracked_tokens(Range prompts) const;
  [[nodiscard]] const Costs& costs(int64_t prompt) const;
  [[nodiscard]] Costs compute_costs(int64_t prompt) const;

  RunContext context_;
  Spec spec_;
  ReadingShape reference_shape_;
  ReadingShape edited_shape_;
  std::vector<std::vector<ReadPoint>> reference_reads_;  ///< per prompt
  std::vector<std::vector<ReadPoint>> edited_reads_;     ///< per prompt
  std::vector<size_t> cost_class_;  ///< per prompt; prompts of a class cost the same
  mutable std::mutex mutex_;
  mutable std::vector<Costs> costs_;  ///< by class
};

}  // namespace mechsweep
