#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config_node.h"
#include "core/json.h"
#include "engine/executor.h"
#include "experiments/array_spec.h"
#include "experiments/stored_results.h"
#include "model/model_config.h"
#include "prompts/prompt.h"

namespace mechsweep {

class Run;

/// A run of the same sweep that another one depends on.
struct SourceRun {
  const Run* run = nullptr;  ///< null: there is none of that id
  std::string kind;          ///< its experiment's
};

/// What an experiment is bound to: one model and one prompt set. Everything outlives the run.
struct RunContext {
  std::string run_id;  ///< EXPERIMENT/MODEL/PROMPTS
  const ModelConfig* model = nullptr;
  const PromptSet* prompts = nullptr;
  uint64_t seed = 0;          ///< of the sweep
  std::string config_folder;  ///< relative paths are relative to this
  /// A run of an experiment that stands above this one in the config, by its id. May be empty:
  /// there is none then.
  std::function<SourceRun(const std::string& run_id)> earlier_run;
};

/// A stage that another one waits for.
struct StageNeed {
  std::string run_id;  ///< empty: the same run
  int stage = 0;
};

/// Units of a run that may start together, once the stages that they need are complete.
struct StageSpec {
  std::string name;
  std::vector<StageNeed> needs;  ///< earlier stages of this run, or any of earlier runs
  int64_t first_size = 0;  ///< length of the first intervention axis; 0: units span prompts only
  /// One unit without model and prompts: Run::decide(). It fills its arrays whole.
  bool decides = false;
  /// Units may be left out by a decision, so each holds one place of the first axis.
  bool may_skip = false;
};

/// What a unit is computed with.
struct UnitInputs {
  /// An executor alone stands for a unit that needs nothing stored, or whose cost alone is asked
  /// for: a run that needs a decision takes the dearest one then.
  UnitInputs(Executor& unit_executor, const StoredResults* earlier = nullptr)  // NOLINT: implicit
      : executor(unit_executor), stored(earlier) {}
  Executor& executor;
  const StoredResults* stored;
};

/// One experiment on one model and one prompt set: what it stores and how a piece of it is
/// computed. A pure function of config, model and prompts; execute() returns the same bits for a
/// piece whatever else is computed, before, beside or elsewhere.
class Run {
 public:
  virtual ~Run() = default;
  [[nodiscard]] virtual std::vector<ArraySpec> arrays() const = 0;
  [[nodiscard]] virtual std::vector<StageSpec> stages() const = 0;
  /// Estimand, definitions and conventions, for the run's group in the results file.
  [[nodiscard]] virtual Json attributes() const = 0;
  /// Floating-point operations that a prompt takes at one place of the first axis (0 where the
  /// stage has none), beside shared_flops.
  [[nodiscard]] virtual double flops(int stage, int64_t prompt, int64_t first) const = 0;
  /// Those that every unit of the stage that holds the prompt pays once, however many places of the
  /// first axis it holds: its unedited runs.
  [[nodiscard]] virtual double shared_flops(int /*stage*/, int64_t /*prompt*/) const { return 0.0; }
  /// Computes the blocks of the stage's arrays, in the order of arrays(), for these prompts and
  /// this range of the first axis; those that are not split along it only where the range begins
  /// at 0. Of what is not in the prompts, only `inputs.stored` may decide a number. Throws an Error
  /// that fails the unit when a stage that it needs is not done.
  [[nodiscard]] virtual UnitResult execute(int stage, Range prompts, Range first,
                                           const UnitInputs& inputs) const = 0;
  /// The selection of a stage that decides: every array of the stage, whole. A pure function of
  /// what is stored. Throws an Error that fails the unit when the stages that it needs are not done
  /// or their numbers do not decide.
  [[nodiscard]] virtual UnitResult decide(int stage, const StoredResults& stored) const;
  /// Whether a decision leaves this unit out (StageSpec::may_skip). Throws like execute().
  [[nodiscard]] virtual bool is_left_out(int /*stage*/, Range /*first*/,
                                         const StoredResults& /*stored*/) const {
    return false;
  }
};

/// The checked parameters of one entry of `experiments:`, before it meets a model.
class Experiment {
 public:
  virtual ~Experiment() = default;
  /// Every parameter, defaults filled in, in canonical form; a file stands by its content, not by
  /// its path, which is relative to `config_folder`. Throws Error{input} when a file cannot be read
  /// or is wrong.
  [[nodiscard]] virtual Json parameters(const std::string& config_folder) const = 0;
  /// Throws Error{usage} when the parameters do not fit the model or the prompts (a layer that the
  /// model does not have), Error{input} when the prompts lack what is needed (targets).
  [[nodiscard]] virtual std::unique_ptr<Run> bind(const RunContext& context) const = 0;
};

struct ProfileNull;

/// Numbers of a run as people ask for them, computed from what is stored.
struct Metric {
  std::string name;
  std::string long_name;
  std::string units;
  std::vector<Axis> axes;      ///< after the prompt
  std::vector<double> values;  ///< [P, axes...]; NaN where it does not apply or is not computed
  bool summarised = true;      ///< `reduce` makes a mean with intervals of it
  bool headline = true;        ///< an answer to the experiment's question: ranked and profiled
  bool null_is_zero = false;   ///< 0 is no effect: means of ranked cells are tested against it
  bool profiled = false;       ///< its mean over heads keeps axes beyond the head, such as the lag
  bool per_prompt = true;      ///< else values are [axes...] of the whole run, not summarised
  /// Where the headline is a ratio of means instead of the mean: [P, axes...] each, else empty.
  std::vector<double> numerator;
  std::vector<double> denominator;
  /// [P, axes...], or empty: 1 where a value applies, yet what was computed is NaN or infinite.
  /// Such values stay out of means and are counted. Has no meaning where a prompt is not computed.
  std::vector<uint8_t> broken;
  /// Of a score [P, layer, head]: what its layer profile is compared with. May be null.
  std::shared_ptr<const ProfileNull> profile_null;

  [[nodiscard]] int64_t cells() const;
};

/// A kind of experiment.
struct ExperimentKind {
  std::string_view name;
  std::string_view summary;
  std::unique_ptr<Experiment> (*parse)(MapReader& reader);
  std::vector<Metric> (*derive)(const StoredRun& run);
};

/// Every kind there is; the only list.
std::span<const ExperimentKind> experiment_table();
/// Throws Error{input} when a file names a kind that this version does not know.
const ExperimentKind& experiment_kind(const std::string& name);

}  // namespace mechsweep
