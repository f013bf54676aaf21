#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>

#include "app/commands.h"
#include "app/progress.h"
#include "engine/forecast.h"
#include "experiments/flops.h"
#include "model/weight_shapes.h"
#include "plan/plan.h"
#include "store/results_file.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

// Rough speeds, to give an idea of scale before anything is measured.
constexpr double kCoreFlops = 1e11;
constexpr double kGpuFlops = 2e13;
constexpr double kGiB = 1073741824.0;
/// Reading, dequantising and packing of weights, in bytes held. benchmarks/plan_accuracy.py
/// measures this and kProgramBytes.
constexpr double kLoadBytesPerSecond = 9e8;

double weight_bytes(const Plan& plan, const PlannedModel& model) {
  return static_cast<double>(resident_weight_bytes(model.checkpoint,
                                                   parse_kernel_set(plan.sweep.execution.kernels),
                                                   parse_compute_type(model.entry->dtype)));
}

/// What the program takes beside weights and activations: code of the libraries, MPI, HDF5, the
/// tokenizer.
constexpr double kProgramBytes = 170e6;

double file_bytes(const FileLayout& layout) {
  double bytes = static_cast<double>(kAttemptSlots * kAttemptRecordBytes) +
                 static_cast<double>(kJournalSlotBytes) * static_cast<double>(layout.units.size());
  for (const DatasetSpec& dataset : layout.datasets)
    bytes += static_cast<double>(dataset.elements() * dataset.element_bytes());
  return bytes;
}

std::string size_text(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 1024.0 && unit < 4; ++unit) bytes /= 1024.0;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

void print_runs(const Plan& plan) {
  size_t width = 3;
  for (const PlannedRun& run : plan.runs) width = std::max(width, run.id.size());
  std::printf("%-*s  %8s  %8s  %12s\n", static_cast<int>(width), "run", "prompts", "units",
              "TFLOP");
  for (size_t r = 0; r < plan.runs.size(); ++r) {
    int64_t units = 0;
    double flops = 0.0;
    for (const Unit& unit : plan.units)
      if (unit.run == static_cast<int>(r)) {
        ++units;
        flops += unit.flops;
      }
    std::printf("%-*s  %8zu  %8lld  %12.3f\n", static_cast<int>(width), plan.runs[r].id.c_str(),
                plan.prompts[plan.runs[r].prompts]->set.prompts.size(),
                static_cast<long long>(units), flops / 1e12);
  }
}

/// What the wavefront executor's own reckoning says of a plan.
struct BudgetForecast {
  int64_t peak_bytes = 0;  ///< the most that any unit has in flight
  /// By model: unedited runs that the budget makes it compute again and again.
  std::vector<double> repeated_flops;
};

/// The costliest unit of each stage stands for its stage.
BudgetForecast forecast_budget(const Plan& plan, int threads) {
  std::map<std::pair<int, int>, const Unit*> costliest;
  std::map<std::pair<int, int>, double> units;
  for (const Unit& unit : plan.units) {
    const Unit*& place = costliest[{unit.run, unit.stage}];
    if (place == nullptr || unit.flops > place->flops) place = &unit;
    units[{unit.run, unit.stage}] += 1.0;
  }
  BudgetForecast all{.repeated_flops = std::vector<double>(plan.models.size(), 0.0)};
  // The naive executor fills its budget or 8,192 rows; only the wavefront reckons exactly.
  if (plan.sweep.execution.executor != "wavefront") return all;
  const auto budget = static_cast<int64_t>(plan.sweep.execution.memory_gib * kGiB);
  for (const auto& [key, unit] : costliest) {
    const PlannedRun& run = plan.runs[unit->run];
    if (run.stages[unit->stage].decides) continue;  // runs no model
    const ModelConfig& config = plan.models[run.model].checkpoint.config;
    ForecastExecutor forecast(config, threads, budget);
    (void)run.run->execute(unit->stage, unit->prompts, unit->first, forecast);
    all.peak_bytes = std::max(all.peak_bytes, forecast.peak_bytes());
    for (const int64_t tokens : forecast.repeated_runs())
      all.repeated_flops[run.model] += units[key] * forward_flops(config, tokens, 0);
  }
  return all;
}

void print_memory(const Plan& plan, const BudgetForecast& forecast) {
  double weights = 0.0;
  for (const PlannedModel& model : plan.models)
    weights = std::max(weights, weight_bytes(plan, model));
  const double budget = plan.sweep.execution.memory_gib * kGiB;
  const bool exact = plan.sweep.execution.executor == "wavefront";
  const double activations = exact ? static_cast<double>(forecast.peak_bytes) : budget;
  std::printf("memory    %s a rank: weights %s, activations %s%s of a budget of %s, program %s\n",
              size_text(weights + activations + kProgramBytes).c_str(), size_text(weights).c_str(),
              exact ? "" : "at most ", size_text(activations).c_str(), size_text(budget).c_str(),
              size_text(kProgramBytes).c_str());
  double repeated = 0.0;
  for (const double flops : forecast.repeated_flops) repeated += flops;
  if (repeated > 0.0)
    std::printf("          this budget makes unedited runs be computed again: %.2f TFLOP more\n",
                repeated / 1e12);
}

/// Tokens of the sweep's prompts, their mean.
int64_t typical_tokens(const Plan& plan) {
  int64_t tokens = 0;
  int64_t prompts = 0;
  for (const auto& planned : plan.prompts)
    for (const Prompt& prompt : planned->set.prompts) {
      tokens += static_cast<int64_t>(prompt.tokens.size());
      ++prompts;
    }
  return std::max<int64_t>(1, tokens / std::max<int64_t>(1, prompts));
}

/// Seconds of computing and loading on so many ranks, each with so many threads, all on machines
/// like this one. Where they share this machine they are measured together.
double calibrated_seconds(const Plan& plan, const BudgetForecast& forecast, int ranks,
                          int threads) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int together = std::min(cores, ranks * threads);
  double seconds = 0.0;
  for (size_t m = 0; m < plan.models.size(); ++m) {
    const PlannedModel& model = plan.models[m];
    const Calibration speed = calibrate(model.checkpoint.config, plan.sweep.execution.kernels,
                                        model.entry->dtype, typical_tokens(plan), together);
    double flops = forecast.repeated_flops[m];
    for (const Unit& unit : plan.units)
      if (plan.runs[unit.run].model == static_cast<int>(m)) flops += unit.flops;
    const double all_cores = speed.flops_per_second / together * ranks * threads;
    seconds += flops / all_cores + weight_bytes(plan, model) / kLoadBytesPerSecond;
    std::printf(
        "speed     %.0f GFLOP/s for model '%s' on %d thread%s together (measured for %.1f s)\n",
        speed.flops_per_second / 1e9, model.entry->id.c_str(), together, together == 1 ? "" : "s",
        speed.elapsed_s);
  }
  return seconds;
}

}  // namespace

int plan_command(const PlanOptions& options) {
  OpenedSweep opened = open_sweep(options.config);
  auto hashes = hash_models(opened);
  const Plan plan = make_plan(std::move(opened), std::move(hashes));
  const FileLayout layout = results_layout(plan);
  const int ranks = options.ranks;
  const int threads = std::max(1, plan.sweep.execution.threads_per_rank);
  double flops = 0.0;
  for (const Unit& unit : plan.units) flops += unit.flops;
  std::printf("sweep     %s (key %s)\n\n", plan.sweep.name.c_str(), plan.key.substr(0, 16).c_str());
  print_runs(plan);
  std::printf("\nunits     %zu\n", plan.units.size());
  std::printf("work      %.2f TFLOP for the wavefront executor; executor %s, kernels %s\n",
              flops / 1e12, plan.sweep.execution.executor.c_str(),
              plan.sweep.execution.kernels.c_str());
  const BudgetForecast forecast = forecast_budget(plan, threads);
  print_memory(plan, forecast);
  std::printf("file      %s and metadata\n", size_text(file_bytes(layout)).c_str());
  const char* ending = ranks == 1 ? "" : "s";
  if (options.calibrate) {
    std::printf("time      about %s on %d rank%s like this machine's\n",
                duration_text(calibrated_seconds(plan, forecast, ranks, threads)).c_str(), ranks,
                ending);
  } else {
    std::printf(
        "time      about %s on %d rank%s at a nominal %.0f GFLOP/s a core (--calibrate "
        "measures this machine)\n",
        duration_text(flops / kCoreFlops / ranks / threads).c_str(), ranks, ending,
        kCoreFlops / 1e9);
  }
  std::printf("GPU-hours %.3g at a nominal %.0f TFLOP/s (this version computes on CPUs)\n",
              flops / kGpuFlops / 3600.0, kGpuFlops / 1e12);
  std::printf("start it  mpirun -n %d mechsweep run %s --out results.h5\n", ranks,
              options.config.c_str());
  std::printf("          sbatch --ntasks=%d slurm/sweep.sh %s --out results.h5\n", ranks,
              options.config.c_str());
  return kExitDone;
}

}  // namespace mechsweep
