#pragma once

#include <string>

namespace mechsweep {

// One function per subcommand, each in the file of its name. They return the exit status (0, or 1
// and 5 where docs/user-guide.md says so) and throw Error for everything else.

struct RunOptions {
  std::string config;
  std::string out;  ///< empty: the config's output.file
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

struct ExportOptions {
  std::string file;
  std::string run;  ///< empty: all runs
};
int export_command(const ExportOptions& options);
int status_command(const std::string& file, bool json);
int verify_command(const std::string& file);
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

struct SelftestOptions {
  std::string device = "cpu";
  std::string kernels = "native";
  std::string dtype = "float32";
  int threads = 2;
};
int selftest_command(const SelftestOptions& options);

/// Prints an error as one sentence to stderr and returns its exit status.
int report(const std::exception& error);

}  // namespace mechsweep
