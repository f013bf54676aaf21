#include "mpi/launch.h"

#include <cstdlib>

#include "core/error.h"

namespace mechsweep {

Launch detect_launch(const Environment& environment) {
  // mpirun's daemons are themselves an srun step, whose SLURM_STEP_NUM_TASKS counts nodes: under
  // mpirun that number says nothing about ranks.
  if (environment("OMPI_COMM_WORLD_SIZE") != nullptr) return {true, 0};
  const char* tasks_text = environment("SLURM_STEP_NUM_TASKS");
  const int tasks = tasks_text == nullptr ? 0 : std::atoi(tasks_text);
  if (environment("PMIX_RANK") != nullptr) return {true, tasks};
  if (tasks > 1) {
    fail(ErrorKind::usage,
         "srun started {} tasks without PMIx, so they cannot find each other; use srun --mpi=pmix, "
         "or mpirun",
         tasks);
  }
  return {};
}

int rank_by_environment(const Environment& environment) {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK"})
    if (const char* rank = environment(name); rank != nullptr) return std::atoi(rank);
  return 0;
}

void check_rank_count(const Launch& launch, int ranks) {
  if (launch.expected_ranks == 0 || launch.expected_ranks == ranks) return;
  fail(
      ErrorKind::usage,
      "Slurm started {} tasks but MPI sees {} ranks: their PMIx versions do not match; try another "
      "srun --mpi= (srun --mpi=list shows them), or mpirun",
      launch.expected_ranks, ranks);
}

}  // namespace mechsweep
