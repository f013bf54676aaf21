#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include <spdlog/spdlog.h>

#include "app/certificates.h"
#include "app/commands.h"
#include "app/file_session.h"
#include "app/machine_facts.h"
#include "app/model_host.h"
#include "app/with_world.h"
#include "core/watchdog.h"
#include "engine/selftest.h"
#include "model/kernel_set.h"
#include "model/linear.h"
#include "plan/dispatch_policy.h"
#include "plan/part.h"
#include "plan/plan.h"
#include "store/results_layout.h"
#include "store/stored_stages.h"

namespace mechsweep {

namespace {

/// The plan, made by every rank for itself; only the hashes of the models' files come from rank 0.
Plan plan_together(World& world, const std::string& config) {
  std::optional<OpenedSweep> opened;
  world.together([&] { opened.emplace(open_sweep(config)); });
  std::string text;
  world.on_root(
      [&] {
        Json all = Json::array();
        for (const auto& files : hash_models(*opened)) all.push_back(to_json(files));
        text = all.dump();
      },
      Waiting::loading);
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

/// Collective. Whether every rank's machine computes exactly, for the attempt's record: the label
/// "bit_exact" stands only where all of them do. Throws Error{resource} on all ranks where one of
/// them cannot multiply in a dtype of the sweep.
Json selftest_together(World& world, const Plan& plan, int threads) {
  const KernelSet kernels = parse_kernel_set(plan.sweep.execution.kernels);
  std::set<std::string> dtypes;
  for (const PlannedModel& model : plan.models) dtypes.insert(model.entry->dtype);
  world.together([&] {
    for (const std::string& dtype : dtypes) require_kernels(kernels, parse_compute_type(dtype));
  });
  Json mine = Json::object();
  for (const std::string& dtype : dtypes)
    mine[dtype] = startup_selftest(kernels, dtype, threads).to_json();
  Json summary = Json::object();
  const Json texts = world.gather(mine.dump());  // of every rank, on rank 0
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const Json verdicts = Json::parse(texts[rank].get<std::string>());
    for (const auto& [dtype, verdict] : verdicts.items()) {
      if (!summary.contains(dtype)) {
        summary[dtype] = verdict;
      } else if (summary[dtype].at("bit_exact") == true && verdict.at("bit_exact") != true) {
        summary[dtype] = verdict;
        summary[dtype]["rank"] = rank;
      }
      if (verdict.at("bit_exact") != true)
        spdlog::warn("rank {}: results in {} are not bit-exact on its machine ({})", rank, dtype,
                     verdict.dump());
    }
  }
  return summary;
}

/// Where Slurm tells the ranks when their job ends (since 23.02), nobody else has to.
std::optional<double> end_of_job(const RunOptions& options) {
  if (options.end_by > 0.0) return options.end_by;
  const char* text = std::getenv("SLURM_JOB_END_TIME");
  const double seconds = text == nullptr ? 0.0 : std::atof(text);
  return seconds > 0.0 ? std::optional(seconds) : std::nullopt;
}

int run_on(World& world, const RunOptions& options) {
  const Plan plan = plan_together(world, options.config);
  FileSession session{.path = options.out.empty() ? plan.sweep.output_file : options.out,
                      .layout = results_layout(plan),
                      .what = "sweep",
                      .sync_interval_s = plan.sweep.execution.sync_interval_s,
                      .store = parse_store_choice(plan.sweep.execution.store),
                      .end_by = end_of_job(options),
                      .retry_quarantined = options.retry_quarantined,
                      .machine = machine_facts(plan.sweep.execution.kernels),
                      .allow_mixed = options.allow_mixed};
  Watchdog::set_limits(plan.sweep.execution.watchdog);
  world.together([&] {
    if (session.path.empty())
      fail(ErrorKind::usage, "say where the results go: --out FILE, or output.file in {}",
           options.config);
    if (std::filesystem::path(session.path).extension() != ".h5")  // .h5 alone is no ending
      fail(ErrorKind::usage, "{}: the results file's name must end in .h5", session.path);
  });
  if (!options.part.empty()) {
    std::vector<double> flops;
    for (const Unit& unit : plan.units) flops.push_back(unit.flops);
    session.wanted = units_of_part(flops, parse_part(options.part));
  }
  for (const Unit& unit : plan.units) {
    const PlannedRun& run = plan.runs[unit.run];
    session.unit_models.push_back(run.stages[unit.stage].decides ? kNoModel : run.model);
    session.unit_names.push_back(unit_name(plan.runs[unit.run], unit));
  }
  session.stage_needs = [&plan](int run, int stage) { return plan.runs[run].needs[stage]; };
  const int threads = threads_for_rank(plan.sweep.execution, world.local_size());
  ModelHost host(plan, threads);
  std::optional<StoredStages> stored;  // once the file is open; one unit is computed at a time
  session.compute = [&](int index, const UnitSource& source) {
    const Unit& unit = plan.units[index];
    const PlannedRun& run = plan.runs[unit.run];
    if (!stored) stored.emplace(plan, session.layout, source, session.unit_names);
    return compute_unit(run, unit, *stored,
                        [&]() -> Executor& { return host.executor(run.model); });
  };
  session.certify = [&](const std::vector<int>& models) {
    return certify_together(world, plan, host, models);
  };
  session.facts = {{"software_version", software_version()},
                   {"executor", plan.sweep.execution.executor},
                   {"threads_per_rank", threads},
                   {"ranks", world.size()},
                   {"selftest", selftest_together(world, plan, threads)}};
  const int status = run_session(world, session);
  double flops = 0.0;
  for (const std::string& text : world.gather(fmt::format("{}", host.product_flops())))
    flops += std::stod(text);
  if (world.rank() == 0)
    spdlog::info("{:.4f} TFLOP computed (matrix products of all ranks)", flops / 1e12);
  return status;
}

}  // namespace

int run_command(const RunOptions& options) {
  if (!options.part.empty()) (void)parse_part(options.part);  // before anything starts
  return with_world([&](World& world) { return run_on(world, options); });
}

}  // namespace mechsweep
