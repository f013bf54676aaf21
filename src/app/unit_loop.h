#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "mpi/world.h"
#include "plan/dispatch_policy.h"
#include "store/unit_sink.h"

namespace mechsweep {

/// What a launch needs to work through units; all but `policy` on every rank.
struct UnitLoop {
  World& world;
  UnitSink& writer;
  /// Rank 0's; null pointer elsewhere.
  DispatchPolicy* policy = nullptr;
  /// Computes a unit. Runs on a thread of its own, so that messages and signals are answered
  /// meanwhile. An Error of kind input or resource ends the launch, anything else fails the unit.
  std::function<UnitResult(int unit)> compute;
  std::vector<std::string> unit_names;  ///< for messages, by unit
  std::vector<double> unit_flops;       ///< for progress, by unit
  double done_flops = 0.0;              ///< of units that the journal held already
  uint32_t attempt = 1;                 ///< number of this launch
  /// By unit, how often it has crashed a process in earlier launches.
  std::vector<uint32_t> crashes;
  double sync_interval_s = 30.0;
  /// Seconds since 1970 at which the job ends: no unit is started that is predicted to end later.
  std::optional<double> end_by;
  std::string stop_path;  ///< a file whose appearance ends the launch cleanly
  std::string what;       ///< "sweep" or "reduce", for the progress line
};

struct LoopOutcome {
  int64_t failed = 0;        ///< units that failed in this launch
  bool interrupted = false;  ///< stopped by a signal, the stop file or the end of the job's time
};

/// Collective: hands units to ranks as they become free until none is left, writes each one's
/// payload and journal entry on the rank that computed it, and shows progress on rank 0. All MPI
/// and HDF5 calls are made on the calling thread. After a signal (INT, TERM, USR1, USR2) or the
/// stop file, units that are being computed are finished, claimed ones dropped. A unit whose
/// computing kills the process (SEGV, BUS, FPE, ILL, ABRT) is marked crashed on the way out, or
/// quarantined when it is the third time. All ranks leave together with the same outcome.
LoopOutcome run_units(const UnitLoop& loop);

/// Exit status of an outcome.
int loop_status(const LoopOutcome& outcome);

}  // namespace mechsweep
