#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/group.h"
#include "experiments/experiment.h"
#include "model/checkpoint.h"
#include "plan/model_hash.h"
#include "plan/sweep.h"

namespace mechsweep {

/// A model of the sweep, opened (headers only).
struct PlannedModel {
  const ModelEntry* entry = nullptr;
  Checkpoint checkpoint;
  std::vector<FileHash> files;
  std::string hash;
};

/// A prompt set as one model sees it.
struct PlannedPrompts {
  int model = 0;  ///< index into Plan::models
  PromptSet set;
  std::string hash;
};

/// A stage of a run.
struct RunStage {
  int run = 0;    ///< index into Plan::runs
  int stage = 0;  ///< number in the run
  bool operator==(const RunStage&) const = default;
};

/// One experiment on one model and one prompt set.
struct PlannedRun {
  std::string id;  ///< EXPERIMENT/MODEL/PROMPTS
  const ExperimentEntry* entry = nullptr;
  int model = 0;
  int prompts = 0;  ///< index into Plan::prompts
  std::unique_ptr<Run> run;
  std::vector<StageSpec> stages;
  std::vector<std::vector<RunStage>> needs;  ///< by stage, those of StageSpec::needs
  std::vector<ArraySpec> arrays;
};

/// The smallest piece that is dispatched, computed and recorded as a whole.
struct Unit {
  std::string id;  ///< SHA-256 of the canonical JSON of (run, stage, prompt range, first range)
  int run = 0;
  int stage = 0;
  Range prompts;  ///< empty for the one unit of a stage that decides
  Range first;
  double flops = 0.0;
};

/// Everything that a sweep will do: a pure function of config, models and prompts, the same on
/// every rank, whatever the rank count, memory or threads.
struct Plan {
  Sweep sweep;
  std::vector<PlannedModel> models;
  std::vector<std::unique_ptr<PlannedPrompts>> prompts;
  std::vector<PlannedRun> runs;
  std::vector<Unit> units;  ///< by run, stage, prompt, first axis
  Json identity;            ///< what the key is the hash of
  std::string key;          ///< SHA-256 of identity's canonical form
};

/// A config and its models, opened but not yet hashed.
struct OpenedSweep {
  Sweep sweep;
  std::vector<Checkpoint> checkpoints;  ///< in the order of Sweep::models
};
/// Throws Error{usage} or Error{input}.
OpenedSweep open_sweep(const std::string& config_path);

/// Hashes of every model's files, in the order of Sweep::models: slow for large models, so one rank
/// makes them for all.
std::vector<std::vector<FileHash>> hash_models(const OpenedSweep& opened);

/// Makes prompts, binds experiments and cuts units. Throws Error{usage} or Error{input} naming the
/// experiment, model and prompt set.
Plan make_plan(OpenedSweep opened, std::vector<std::vector<FileHash>> hashes);

/// Units of a stage aim at this much work: 5 s at a nominal 100 GFLOP/s.
inline constexpr double kUnitFlops = 5e11;
/// A stage is cut into at least about this many units, so that several ranks have something to
/// share.
inline constexpr int kFewestUnits = 8;
/// ... unless they became smaller than this: panels of rows would stay half empty.
inline constexpr double kSmallestUnitFlops = 2e10;

/// Cuts one stage of a run into units, prompts first and then the first axis; a stage that decides
/// is one unit.
std::vector<Unit> cut_units(const std::string& run_id, int run, int stage, const StageSpec& spec,
                            int64_t prompts, const Run& costs);

/// Computes a unit: what its run computes or decides, or that a decision leaves it out. The
/// executor is asked for only where the unit needs its model. Throws what Run does.
UnitResult compute_unit(const PlannedRun& run, const Unit& unit, const StoredResults& stored,
                        const std::function<Executor&()>& executor);

}  // namespace mechsweep
