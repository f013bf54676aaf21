#include "plan/base_runs.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "plan/plan.h"

namespace mechsweep {

namespace {

/// Whether some run of the model on the prompts stores its answers without edits.
bool has_base_run(const Plan& plan, const std::string& model, const std::string& prompts) {
  return std::any_of(plan.runs.begin(), plan.runs.end(), [&](const PlannedRun& run) {
    return plan.models[run.model].entry->id == model &&
           plan.prompts[run.prompts]->set.id == prompts &&
           std::any_of(run.arrays.begin(), run.arrays.end(),
                       [](const ArraySpec& array) { return array.name == "base/loss"; });
  });
}

}  // namespace

void check_base_runs(const Plan& plan) {
  for (const ExperimentEntry& entry : plan.sweep.experiments) {
    if (!entry.statistics.correct_in) continue;
    const CorrectIn& asked = *entry.statistics.correct_in;
    const std::vector<std::string>& models =
        asked.kind == CorrectIn::Kind::listed ? asked.models : entry.models;
    for (const std::string& prompts : entry.prompts)
      for (const std::string& model : models)
        if (!has_base_run(plan, model, prompts))
          fail(
              ErrorKind::usage,
              "{}: experiment '{}': `correct_in` asks which of the prompts '{}' model '{}' answers "
              "right, but no experiment runs the model on them without an edit: add one of kind "
              "head_ablation, activation_patching or interventions",
              plan.sweep.path, entry.id, prompts, model);
  }
}

}  // namespace mechsweep
