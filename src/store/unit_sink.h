#pragma once

#include "experiments/array_spec.h"
#include "store/crash_mark.h"
#include "store/journal.h"

namespace mechsweep {

struct AttemptRecord;

/// Where a rank puts what its units gave: straight into the results file (ResultsWriter, "shared
/// mode"), or into a segment of the log beside it (LogWriter, "log mode"). The calls are
/// independent of other ranks and may come from any thread; I/O failures throw Error{resource}
/// that names file and unit.
class UnitSink {
 public:
  virtual ~UnitSink() = default;

  /// Stores the unit's payload and a journal entry with state done (CRC and size are filled in
  /// here). `result` has a block for every target of the unit (SegmentMap::targets), in that order.
  virtual void write_unit(int unit, const UnitResult& result, JournalEntry entry) = 0;
  /// Stores only a journal entry (failed, skipped, ...).
  virtual void write_state(int unit, const JournalEntry& entry) = 0;
  /// Writes attempt record number `slot` (rank 0 only); the 257th launch overwrites the first. Of a
  /// record that is too long the largest facts are left out and named under "left_out".
  virtual void write_attempt(int slot, const AttemptRecord& record) = 0;
  /// fdatasync of what this process has written.
  virtual void sync() = 0;
  /// What marks the unit with `entry` (crashed, quarantined) from a signal handler. Valid until
  /// close().
  [[nodiscard]] virtual CrashMark crash_mark(int unit, const JournalEntry& entry) const = 0;
  /// The last call. Collective where opening was.
  virtual void close() = 0;
};

}  // namespace mechsweep
