#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace mechsweep {

/// What reading a results file for the first time may take.
struct ReadLimits {
  int seconds = 60;           ///< of wall time and of CPU time, each
  int64_t memory_mib = 2048;  ///< address space beyond what the program has at its start
};
/// The defaults, with the seconds from MECHSWEEP_READ_SECONDS (1 to 86400) where that is set.
/// Throws Error{usage} when it is no such number.
ReadLimits read_limits_from_environment();

/// HDF5 can hang, crash or ask for all memory when a file is damaged. So a results file is read for
/// the first time by a process that may die of it: one that is forked at the very start of the
/// program and forks again for every file. There is at most one guard in a process; where there is
/// none (other ranks than 0, unit tests) nothing is tried.
class ReadGuard {
 public:
  /// What is tried; throws Error like the reading itself.
  using Read = std::function<void(const std::string& path)>;

  /// Forks the guard. Before MPI_Init and before the first thread. It ignores the signals that stop
  /// a run, keeps no descriptor of this process open, and ends with it. Throws Error{resource} when
  /// no process can be made.
  static void start(const ReadLimits& limits, const Read& read);
  /// Ends the guard and waits for it.
  static void stop();
  static bool is_running();

  /// Reads the file in the guarded process, unless this process has had it checked already. Throws
  /// the Error of the reading, or Error{input} when it crashed, took too long or too much memory.
  static void check(const std::string& path);
  /// Another rank's guard has tried this file.
  static void trust(const std::string& path);
  /// Whether the file was checked, or is trusted.
  static bool has_passed(const std::string& path);
  /// The file at this path has changed: the next check reads it anew.
  static void forget(const std::string& path);
};

}  // namespace mechsweep
