#pragma once

#include <cstdint>
#include <vector>

#include "app/file_session.h"
#include "plan/dispatch_policy.h"

namespace mechsweep {

/// What a file that is there already says of the launches before.
struct EarlierLaunches {
  /// Units that are not to be computed again: done, skipped or quarantined.
  std::vector<JournalledUnit> finished;
  int64_t quarantined = 0;        ///< of these
  std::vector<uint32_t> crashes;  ///< by unit, how often it killed a process
  double finished_flops = 0.0;
  int64_t launches = 0;

  /// Of a fresh file.
  explicit EarlierLaunches(size_t units) : crashes(units, 0) {}
};

/// Reads the file at session.path; one rank. Throws Error{usage} when it was made by another sweep,
/// with the differences, or on another kind of machine, Error{input} when it is damaged or not
/// ours.
EarlierLaunches read_earlier_launches(const FileSession& session);

}  // namespace mechsweep
