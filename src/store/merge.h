#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "store/results_file.h"

namespace mechsweep {

/// What a merge left in the file.
struct MergeReport {
  int64_t units = 0;
  int64_t done = 0;
  int64_t failed = 0;  ///< failed, crashed or quarantined
  int64_t skipped = 0;
  int64_t left = 0;
  int64_t copied = 0;              ///< entries that came from the inputs
  int64_t folded = 0;              ///< entries that came from the file's own log
  std::vector<std::string> notes;  ///< what is worth knowing, one sentence each
};

/// Is shown every file that takes part (the inputs in their order, then `out` if it was there),
/// its attempts, and the numbers of those that done units speak of; may throw.
using AttemptsCheck =
    std::function<void(const std::string& file, const std::vector<AttemptRecord>& attempts,
                       const std::set<int64_t>& counted)>;

/// Merges results of one sweep that ran as several files into `out`, which is made if it is not
/// there. Of each unit the best entry stays: done (its payload is checked) before skipped,
/// quarantined, crashed, failed, empty; of equals `out`'s, then that of the first input. Inputs may
/// have a log beside them and are only read. Without inputs it folds the log of `out`. Safe to be
/// killed at any moment, and to be done again.
/// Throws Error{usage} when keys differ (with the differences) or a file is given twice,
/// Error{input} when a file is damaged, or a unit is done in two files with different payloads,
/// Error{resource} when a file's lock is held or `out` cannot be written. Nothing is written then,
/// except by the last.
MergeReport merge_results(const std::string& out, const std::vector<std::string>& inputs,
                          const AttemptsCheck& check = {});

/// Which of two entries of one unit counts when files are merged; higher wins.
int merge_precedence(UnitState state);

}  // namespace mechsweep
