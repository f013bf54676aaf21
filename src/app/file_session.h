#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mpi/world.h"
#include "plan/plan.h"
#include "store/file_layout.h"
#include "store/file_system.h"
#include "store/unit_source.h"

namespace mechsweep {

/// Work on one file, from taking its lock to giving it back: what `run` and `reduce` share.
struct FileSession {
  std::string path;
  FileLayout layout;
  std::string what;  ///< "sweep" or "reduce"
  /// By unit: index of the model it needs, or -1.
  std::vector<int> unit_models;
  /// The stages that must be complete before units of this one may start.
  std::function<std::vector<RunStage>(int run, int stage)> stage_needs;
  std::vector<std::string> unit_names;
  /// `stored` is what all ranks have stored so far, this one included.
  std::function<UnitResult(int unit, const UnitSource& stored)> compute;
  /// Collective; may be empty. Is given the models that still have units to do, none if no unit is
  /// left, before anything is written; what it gives on rank 0 is stored with the attempt as
  /// "certificates" unless it is empty. What it throws, on all ranks alike, ends the session and
  /// leaves the file as it was.
  std::function<Json(const std::vector<int>& models)> certify;
  double sync_interval_s = 30.0;
  StoreChoice store = StoreChoice::automatic;
  /// Seconds since 1970 at which the job ends, if it does: see UnitLoop.
  std::optional<double> end_by;
  /// By unit, whether this launch is to compute it (a part of a job array); empty: all of them.
  std::vector<bool> wanted;
  /// Units that were quarantined are computed again, their crashes forgotten.
  bool retry_quarantined = false;
  /// machine_facts() of this rank; a file that was begun on machines with other ones, or ranks that
  /// differ, are refused unless `allow_mixed`. Empty: any machine will do.
  Json machine = Json::object();
  bool allow_mixed = false;
  Json facts = Json::object();  ///< for the attempt record
};

/// Collective. Creates the file, or resumes it when it is there and its key matches: only units
/// that are not done are computed. Returns the exit status (0 all that was wanted is done, 1 some
/// units failed or are quarantined, 5 interrupted). Throws, on all ranks alike, Error{usage} when
/// the file's key or kind of machine is another one, with the differences, Error{input} when it is
/// damaged or not ours, Error{resource} when it is locked or cannot be written.
int run_session(World& world, const FileSession& session);

}  // namespace mechsweep
