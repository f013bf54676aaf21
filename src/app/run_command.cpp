#include <filesystem>
#include <optional>

#include "app/commands.h"
#include "app/file_session.h"
#include "app/model_host.h"
#include "app/with_world.h"
#include "plan/plan.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

/// The plan, made by every rank for itself; only the hashes of the models' files come from rank 0.
Plan plan_together(World& world, const std::string& config) {
  std::optional<OpenedSweep> opened;
  world.together([&] { opened.emplace(open_sweep(config)); });
  std::string text;
  world.on_root([&] {
    Json all = Json::array();
    for (const auto& files : hash_models(*opened)) all.push_back(to_json(files));
    text = all.dump();
  });
  std::vector<std::vector<FileHash>> hashes;
  for (const Json& files : Json::parse(world.broadcast(text, 0)))
    hashes.push_back(file_hashes_from_json(files));
  std::optional<Plan> plan;
  world.together([&] { plan.emplace(make_plan(std::move(*opened), std::move(hashes))); });
  return std::move(*plan);
}

std::string unit_name(const PlannedRun& run, const Unit& unit) {
  std::string name = fmt::format("{} {} prompts {}..{}", run.id, run.stages[unit.stage].name,
                                 unit.prompts.begin, unit.prompts.end - 1);
  if (unit.first.size() > 0)
    name += fmt::format(", first axis {}..{}", unit.first.begin, unit.first.end - 1);
  return name;
}

int run_on(World& world, const RunOptions& options) {
  const Plan plan = plan_together(world, options.config);
  FileSession session{.path = options.out.empty() ? plan.sweep.output_file : options.out,
                      .layout = results_layout(plan),
                      .what = "sweep",
                      .sync_interval_s = plan.sweep.execution.sync_interval_s};
  world.together([&] {
    if (session.path.empty())
      fail(ErrorKind::usage, "say where the results go: --out FILE, or output.file in {}",
           options.config);
    if (std::filesystem::path(session.path).extension() != ".h5")  // .h5 alone is no ending
      fail(ErrorKind::usage, "{}: the results file's name must end in .h5", session.path);
  });
  for (const Unit& unit : plan.units) {
    session.unit_models.push_back(plan.runs[unit.run].model);
    session.unit_names.push_back(unit_name(plan.runs[unit.run], unit));
  }
  session.stage_needs = [&plan](int run, int stage) { return plan.runs[run].stages[stage].needs; };
  const int threads = threads_for_rank(plan.sweep.execution, world.local_size());
  ModelHost host(plan, threads);
  session.compute = [&](int index) {
    const Unit& unit = plan.units[index];
    const PlannedRun& run = plan.runs[unit.run];
    return run.run->execute(unit.stage, unit.prompts, unit.first, host.executor(run.model));
  };
  session.facts = {{"software_version", software_version()},
                   {"executor", plan.sweep.execution.executor},
                   {"threads_per_rank", threads},
                   {"ranks", world.size()}};
  return run_session(world, session);
}

}  // namespace

int run_command(const RunOptions& options) {
  return with_world([&](World& world) { return run_on(world, options); });
}

}  // namespace mechsweep
