#include "plan/plan.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"
#include "experiments/format_version.h"
#include "plan/base_runs.h"

namespace mechsweep {

namespace {

/// The models that some experiment computes with this prompt set, in the order of the sweep.
std::vector<ModelTokenizer> models_of_prompts(const Plan& plan, const std::string& prompts_id) {
  const auto names = [](const std::vector<std::string>& ids, const std::string& id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  std::vector<ModelTokenizer> models;
  for (const PlannedModel& model : plan.models) {
    const std::string& id = model.entry->id;
    const bool is_used =
        std::any_of(plan.sweep.experiments.begin(), plan.sweep.experiments.end(),
                    [&](const ExperimentEntry& entry) {
                      return names(entry.prompts, prompts_id) && names(entry.models, id);
                    });
    if (is_used) models.push_back({id, model.checkpoint.tokenizer.get()});
  }
  return models;
}

/// The same prompt set for the same model is made once, however many experiments use it.
int planned_prompts(Plan& plan, int model, const std::string& prompts_id) {
  for (size_t i = 0; i < plan.prompts.size(); ++i)
    if (plan.prompts[i]->model == model && plan.prompts[i]->set.id == prompts_id)
      return static_cast<int>(i);
  const PromptEntry& entry = plan.sweep.prompt_set(prompts_id);
  const Checkpoint& checkpoint = plan.models[model].checkpoint;
  const PromptContext context{.tokenizer = checkpoint.tokenizer.get(),
                              .vocab_size = checkpoint.config.vocab_size,
                              .max_positions = checkpoint.config.max_positions,
                              .bos_token = checkpoint.config.bos_token,
                              .seed = plan.sweep.seed,
                              .config_folder = plan.sweep.folder,
                              .compared = models_of_prompts(plan, prompts_id)};
  auto planned = std::make_unique<PlannedPrompts>();
  planned->model = model;
  try {
    planned->set = {.id = entry.id,
                    .kind = entry.kind,
                    .parameters = entry.source->parameters(context),
                    .prompts = entry.source->make(context)};
    for (const Prompt& prompt : planned->set.prompts)
      check_prompt(prompt, context.vocab_size, context.max_positions);
  } catch (const Error& error) {
    throw error.within(
        fmt::format("prompts '{}' for model '{}'", prompts_id, plan.models[model].entry->id));
  }
  planned->hash = prompt_set_hash(planned->set);
  plan.prompts.push_back(std::move(planned));
  return static_cast<int>(plan.prompts.size()) - 1;
}

/// The run of that id among those planned so far, or -1.
int run_index(const Plan& plan, const std::string& id) {
  for (size_t i = 0; i < plan.runs.size(); ++i)
    if (plan.runs[i].id == id) return static_cast<int>(i);
  return -1;
}

/// Where the stages are that a run's stages wait for; `own` is the index that the run will have.
std::vector<std::vector<RunStage>> places_of_needs(const Plan& plan, const PlannedRun& run,
                                                   int own) {
  std::vector<std::vector<RunStage>> places;
  for (size_t stage = 0; stage < run.stages.size(); ++stage) {
    places.emplace_back();
    for (const StageNeed& need : run.stages[stage].needs) {
      const int other = need.run_id.empty() ? own : run_index(plan, need.run_id);
      ensure(other >= 0 && (other < own || need.stage < static_cast<int>(stage)),
             "a stage waits for earlier ones only");
      places.back().push_back({other, need.stage});
    }
  }
  return places;
}

int model_index(const Plan& plan, const std::string& id) {
  for (size_t i = 0; i < plan.models.size(); ++i)
    if (plan.models[i].entry->id == id) return static_cast<int>(i);
  ensure(false, "a model that was checked is gone");
  return -1;
}

void plan_run(Plan& plan, const ExperimentEntry& entry, const std::string& model_id,
              const std::string& prompts_id) {
  PlannedRun planned{.id = entry.id + "/" + model_id + "/" + prompts_id, .entry = &entry};
  planned.model = model_index(plan, model_id);
  planned.prompts = planned_prompts(plan, planned.model, prompts_id);
  const PromptSet& set = plan.prompts[planned.prompts]->set;
  try {
    planned.run = entry.experiment->bind({.run_id = planned.id,
                                          .model = &plan.models[planned.model].checkpoint.config,
                                          .prompts = &set,
                                          .seed = plan.sweep.seed,
                                          .config_folder = plan.sweep.folder,
                                          .earlier_run = [&plan](const std::string& id) {
                                            const int index = run_index(plan, id);
                                            if (index < 0) return SourceRun{};
                                            const PlannedRun& found = plan.runs[index];
                                            return SourceRun{found.run.get(), found.entry->kind};
                                          }});
  } catch (const Error& error) {
    throw error.within(
        fmt::format("{}: experiment '{}' on model '{}'", plan.sweep.path, entry.id, model_id));
  }
  planned.stages = planned.run->stages();
  planned.arrays = planned.run->arrays();
  const int index = static_cast<int>(plan.runs.size());
  planned.needs = places_of_needs(plan, planned, index);
  for (size_t stage = 0; stage < planned.stages.size(); ++stage) {
    auto units = cut_units(planned.id, index, static_cast<int>(stage), planned.stages[stage],
                           static_cast<int64_t>(set.prompts.size()), *planned.run);
    std::move(units.begin(), units.end(), std::back_inserter(plan.units));
  }
  plan.runs.push_back(std::move(planned));
}

Json experiment_parameters(const Sweep& sweep, const ExperimentEntry& entry) {
  try {
    return entry.experiment->parameters(sweep.folder);
  } catch (const Error& error) {
    throw error.within(fmt::format("{}: experiment '{}'", sweep.path, entry.id));
  }
}

Json identity_of(const Plan& plan) {
  Json identity = {{"format_version", kFormatVersion},
                   {"seed", plan.sweep.seed},
                   {"kernels", plan.sweep.execution.kernels},
                   {"models", Json::object()},
                   {"prompts", Json::object()},
                   {"experiments", Json::object()},
                   {"runs", Json::array()}};
  // Units are numbered by the order of the runs, so a file made with another order is another file.
  for (const PlannedRun& run : plan.runs) identity["runs"].push_back(run.id);
  for (const PlannedModel& model : plan.models)
    identity["models"][model.entry->id] = {{"hash", model.hash},
                                           {"dtype", model.entry->dtype},
                                           {"tensor_parallel", model.entry->tensor_parallel}};
  for (const auto& prompts : plan.prompts)
    identity["prompts"][prompts->set.id][plan.models[prompts->model].entry->id] = {
        {"kind", prompts->set.kind},
        {"parameters", prompts->set.parameters},
        {"hash", prompts->hash}};
  for (const ExperimentEntry& entry : plan.sweep.experiments)
    identity["experiments"][entry.id] = {{"kind", entry.kind},
                                         {"parameters", experiment_parameters(plan.sweep, entry)},
                                         {"models", entry.models},
                                         {"prompts", entry.prompts},
                                         {"statistics", entry.statistics.to_json()}};
  return identity;
}

}  // namespace

OpenedSweep open_sweep(const std::string& config_path) {
  OpenedSweep opened{.sweep = read_sweep(config_path)};
  for (const ModelEntry& entry : opened.sweep.models) {
    try {
      opened.checkpoints.push_back(open_checkpoint(entry.resolved));
    } catch (const Error& error) {
      throw error.within(fmt::format("{}: model '{}'", config_path, entry.id));
    }
  }
  return opened;
}

std::vector<std::vector<FileHash>> hash_models(const OpenedSweep& opened) {
  std::vector<std::vector<FileHash>> hashes;
  for (const Checkpoint& checkpoint : opened.checkpoints)
    hashes.push_back(hash_files(checkpoint.files));
  return hashes;
}

Plan make_plan(OpenedSweep opened, std::vector<std::vector<FileHash>> hashes) {
  Plan plan{.sweep = std::move(opened.sweep)};
  for (size_t i = 0; i < plan.sweep.models.size(); ++i)
    plan.models.push_back({.entry = &plan.sweep.models[i],
                           .checkpoint = std::move(opened.checkpoints[i]),
                           .files = hashes[i],
                           .hash = model_hash(hashes[i])});
  for (const ExperimentEntry& entry : plan.sweep.experiments)
    for (const std::string& model : entry.models)
      for (const std::string& prompts : entry.prompts) plan_run(plan, entry, model, prompts);
  check_base_runs(plan);
  plan.identity = identity_of(plan);
  plan.key = sha256_hex(plan.identity.dump());
  return plan;
}

}  // namespace mechsweep
