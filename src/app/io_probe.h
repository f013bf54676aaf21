#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mpi/shared_file.h"
#include "mpi/world.h"

namespace mechsweep {

/// What a probe of a folder found; the same on all ranks.
struct ProbeResult {
  int64_t tried = 0;
  int64_t wrong = 0;
  std::string first_fault;  ///< a clause about one that was wrong
  std::string component;    ///< who wrote, where that matters
  [[nodiscard]] bool passed() const { return tried > 0 && wrong == 0; }
  [[nodiscard]] std::string text() const;
};

// All of these are collective and leave files only in `folder`, which all ranks see and which is
// removed afterwards. They throw, on all ranks alike, Error{resource} when nothing can be written.

/// Whether the other ranks see a file that a rank has made.
ProbeResult probe_visibility(World& world, const std::string& folder);
/// Writes interleaved rows of odd size from all ranks into one results file, exactly as a sweep
/// does in shared mode, syncs, and reads each back on another rank; several times over, with rows
/// that change hands.
ProbeResult probe_shared_rows(World& world, const std::string& folder);
/// Appends records of odd size from all ranks to the log, as a sweep does in log mode, and counts
/// what rank 0 finds in the file afterwards.
ProbeResult probe_log(World& world, const std::string& folder);
/// Replaces a file by renaming another one to its name; the others must see the new one whole.
ProbeResult probe_rename(World& world, const std::string& folder);
/// Takes STEM.lock on one rank; the others must be refused, and not when it is released.
ProbeResult probe_lock(World& world, const std::string& folder);

struct Speed {
  double megabytes_per_s = 0.0;  ///< written and synced by all ranks together
  double sync_s = 0.0;           ///< median time of an fdatasync after a small write
};
Speed measure_speed(World& world, const std::string& folder);

}  // namespace mechsweep
