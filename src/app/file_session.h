#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mpi/world.h"
#include "store/file_layout.h"

namespace mechsweep {

/// Work on one file, from taking its lock to giving it back: what `run` and `reduce` share.
struct FileSession {
  std::string path;
  FileLayout layout;
  std::string what;  ///< "sweep" or "reduce"
  /// By unit: index of the model it needs, or -1.
  std::vector<int> unit_models;
  /// By (run, stage) in the order of first appearance among the units: the earlier ones it needs,
  /// as (run, stage).
  std::function<std::vector<int>(int run, int stage)> stage_needs;
  std::vector<std::string> unit_names;
  std::function<UnitResult(int unit)> compute;
  /// Collective; may be empty. Is given the models that still have units to do, none if no unit is
  /// left, before anything is written; what it gives on rank 0 is stored with the attempt as
  /// "certificates" unless it is empty. What it throws, on all ranks alike, ends the session and
  /// leaves the file as it was.
  std::function<Json(const std::vector<int>& models)> certify;
  double sync_interval_s = 30.0;
  Json facts = Json::object();  ///< for the attempt record
};

/// Collective. Creates the file, or resumes it when it is there and its key matches: only units
/// that are not done are computed. Returns the exit status (0 all done, 1 some units failed, 5
/// interrupted). Throws, on all ranks alike, Error{usage} when the file's key is another one, with
/// the differences, Error{input} when it is damaged or not ours, Error{resource} when it is locked
/// or cannot be written.
int run_session(World& world, const FileSession& session);

}  // namespace mechsweep
