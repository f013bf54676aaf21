#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config_node.h"
#include "core/json.h"
#include "engine/executor.h"
#include "experiments/array_spec.h"
#include "model/model_config.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// What an experiment is bound to: one model and one prompt set. Everything outlives the run.
struct RunContext {
  std::string run_id;  ///< EXPERIMENT/MODEL/PROMPTS
  const ModelConfig* model = nullptr;
  const PromptSet* prompts = nullptr;
  uint64_t seed = 0;          ///< of the sweep
  std::string config_folder;  ///< relative paths are relative to this
};

/// Units of a run that may start together, once the stages that they need are complete.
struct StageSpec {
  std::string name;
  std::vector<int> needs;  ///< earlier stages of the run
  int64_t first_size = 0;  ///< length of the first intervention axis; 0: units span prompts only
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
  /// at 0.
  [[nodiscard]] virtual UnitResult execute(int stage, Range prompts, Range first,
                                           Executor& executor) const = 0;
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

/// Numbers of a run as people ask for them, computed from what is stored.
struct Metric {
  std::string name;
  std::string long_name;
  std::string units;
  std::vector<Axis> axes;      ///< after the prompt
  std::vector<double> values;  ///< [P, axes...]; NaN where it does not apply or is not computed
  bool summarised = true;      ///< `reduce` makes a mean with intervals of it
  bool headline = true;        ///< an answer to the experiment's question: ranked and profiled
  /// Where the headline is a ratio of means instead of the mean: [P, axes...] each, else empty.
  std::vector<double> numerator;
  std::vector<double> denominator;
  /// [P, axes...], or empty: 1 where a value applies, yet what was computed is NaN or infinite.
  /// Such values stay out of means and are counted. Has no meaning where a prompt is not computed.
  std::vector<uint8_t> broken;

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
