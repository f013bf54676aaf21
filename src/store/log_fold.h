#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/file_layout.h"
#include "store/journal.h"

namespace mechsweep {

/// Whether an entry of a log, or of another file of the same sweep, is to replace the one that a
/// file has: done before skipped before anything of a later attempt.
bool supersedes(const JournalEntry& candidate, const JournalEntry& present);

/// What fold_log did.
struct FoldReport {
  int64_t units = 0;                 ///< whose entry (and payload) went into the file
  int64_t records = 0;               ///< whole records that were found
  int64_t lost_bytes = 0;            ///< of records that were cut off or damaged
  std::vector<std::string> foreign;  ///< segments left alone: they hold units of another sweep
};
/// Puts what the log's segments hold into the results file, syncs it, and then removes them. One
/// process, which holds STEM.lock, while no other one has the file open for writing. Safe to be
/// killed at any moment, and to be done again. `expected` are segments that are there although the
/// folder may not list them yet, with at least `records` records in all; Error{resource} if they do
/// not come back, before anything is removed. Throws Error{input} when a file cannot be read.
FoldReport fold_log(const std::string& results_path, const std::vector<std::string>& expected = {},
                    int64_t records = 0);

/// Removes the log of a results file that is gone.
void remove_log(const std::string& results_path);

/// Replaces the entries of `journal` that the log's segments supersede; returns how many. For those
/// who read a file while a run is writing its log. `damage`: if given, payloads are checked too and
/// a sentence is added for every segment with lost bytes.
int64_t overlay_log(const std::string& results_path, const FileLayout& layout,
                    std::vector<JournalEntry>& journal, std::vector<std::string>* damage = nullptr);

}  // namespace mechsweep
