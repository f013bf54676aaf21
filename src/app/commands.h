#pragma once

#include <string>
#include <vector>

namespace mechsweep {

// One function per subcommand, each in the file of its name. They return the exit status (0, or 1
// and 5 where docs/user-guide.md says so) and throw Error for everything else.

struct RunOptions {
  std::string config;
  std::string out;   ///< empty: the config's output.file
  std::string part;  ///< "I/N": only that part of the units; empty: all
  double end_by =
      0.0;  ///< seconds since 1970 at which the job ends; 0: SLURM_JOB_END_TIME, or never
  bool allow_mixed = false;
  bool retry_quarantined = false;
};
/// Starts MPI when it was launched by mpirun or srun.
int run_command(const RunOptions& options);
/// Likewise.
int reduce_command(const std::string& file);

struct PlanOptions {
  std::string config;
  int ranks = 1;
  bool calibrate = false;  ///< measure this machine for seconds, to predict the time
};
int plan_command(const PlanOptions& options);
int prompts_command(const std::string& config);
/// Writes one config for each combination of `grid:` into `folder`, and the list of them.
int grid_command(const std::string& config, const std::string& folder);

struct ExportOptions {
  std::string file;
  std::string run;  ///< empty: all runs
};
int export_command(const ExportOptions& options);
int status_command(const std::string& file, bool json);
/// With `restore` the metadata of the file are mended from STEM.meta first, or the other way round.
int verify_command(const std::string& file, bool restore);
int inspect_command(const std::string& path);

struct CertifyCommandOptions {
  std::string path;
  std::string reference;  ///< a file, or empty
  std::string dtype = "float32";
  std::string kernels = "native";
  std::string executor = "wavefront";
  int threads = 1;
  bool json = false;
};
/// `inspect --certify`.
int certify_command(const CertifyCommandOptions& options);
int list_command(const std::string& what);

struct MergeOptions {
  std::string out;
  std::vector<std::string> inputs;  ///< empty: only the log of `out` is folded in
  bool allow_mixed = false;
};
int merge_command(const MergeOptions& options);

struct SelftestOptions {
  std::string device = "cpu";
  std::string kernels = "native";
  std::string dtype = "float32";
  int threads = 2;
};
int selftest_command(const SelftestOptions& options);
/// `selftest --io DIR`. Starts MPI when it was launched by mpirun or srun.
int selftest_io_command(const std::string& folder);

/// Prints an error as one sentence to stderr and returns its exit status.
int report(const std::exception& error);

}  // namespace mechsweep
