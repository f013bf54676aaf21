#pragma once

#include <functional>

namespace mechsweep {

/// How this process was started, as its environment tells.
struct Launch {
  bool has_mpi = false;    ///< mpirun, or srun with PMIx: MPI_Init can find the other ranks
  int expected_ranks = 0;  ///< tasks of the Slurm step when srun started us itself; 0: unknown
};

/// Looks up an environment variable; null pointer when it is not set.
using Environment = std::function<const char*(const char*)>;

/// Variables that a Slurm allocation leaves in every shell (SLURM_JOB_ID, SLURM_NTASKS) do not
/// count: only those that a launcher gives to a rank do. Throws Error{usage} when srun started
/// several tasks without PMIx, which would run the sweep once per task.
Launch detect_launch(const Environment& environment);

/// This process's rank as its launcher tells it, before MPI is started; 0 when alone.
int rank_by_environment(const Environment& environment);

/// Throws Error{usage} when MPI sees another number of ranks than Slurm started.
void check_rank_count(const Launch& launch, int ranks);

}  // namespace mechsweep
