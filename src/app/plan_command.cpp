#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/progress.h"
#include "plan/plan.h"
#include "store/results_file.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

// Rough speeds, to give an idea of scale before anything is measured.
constexpr double kCoreFlops = 1e11;
constexpr double kGpuFlops = 2e13;
constexpr double kGiB = 1073741824.0;

double weight_bytes(const PlannedModel& model) {
  double values = 0.0;
  for (const auto& tensor : expected_tensors(model.checkpoint.config, model.checkpoint.tensors)) {
    double size = 1.0;
    for (const int64_t length : tensor.shape) size *= static_cast<double>(length);
    values += size;
  }
  // A tied embedding is kept twice: as a table to look up and packed for the product.
  if (model.checkpoint.config.tied_embeddings)
    values +=
        static_cast<double>(model.checkpoint.config.vocab_size) * model.checkpoint.config.d_model;
  return 4.0 * values;
}

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

}  // namespace

int plan_command(const std::string& config, int ranks) {
  OpenedSweep opened = open_sweep(config);
  auto hashes = hash_models(opened);
  const Plan plan = make_plan(std::move(opened), std::move(hashes));
  const FileLayout layout = results_layout(plan);
  double flops = 0.0, weights = 0.0;
  for (const Unit& unit : plan.units) flops += unit.flops;
  for (const PlannedModel& model : plan.models) weights = std::max(weights, weight_bytes(model));
  std::printf("sweep     %s (key %s)\n\n", plan.sweep.name.c_str(), plan.key.substr(0, 16).c_str());
  print_runs(plan);
  std::printf("\nunits     %zu\n", plan.units.size());
  std::printf("work      %.2f TFLOP by whole forward passes, executor %s, kernels %s\n",
              flops / 1e12, plan.sweep.execution.executor.c_str(),
              plan.sweep.execution.kernels.c_str());
  std::printf("memory    %s a rank: weights %s and at most %s of activations\n",
              size_text(weights + plan.sweep.execution.memory_gib * kGiB).c_str(),
              size_text(weights).c_str(),
              size_text(plan.sweep.execution.memory_gib * kGiB).c_str());
  std::printf("file      %s and metadata\n", size_text(file_bytes(layout)).c_str());
  std::printf("time      about %s on %d rank%s of one core at a nominal %.0f GFLOP/s\n",
              duration_text(flops / kCoreFlops / ranks).c_str(), ranks, ranks == 1 ? "" : "s",
              kCoreFlops / 1e9);
  std::printf("GPU-hours %.3g at a nominal %.0f TFLOP/s (this version computes on CPUs)\n",
              flops / kGpuFlops / 3600.0, kGpuFlops / 1e12);
  std::printf("start it  mpirun -n %d mechsweep run %s --out results.h5\n", ranks, config.c_str());
  std::printf("          sbatch --ntasks=%d slurm/sweep.sh %s --out results.h5\n", ranks,
              config.c_str());
  return kExitDone;
}

}  // namespace mechsweep
