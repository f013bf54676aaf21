#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/array_spec.h"
#include "store/file_layout.h"
#include "store/journal.h"
#include "store/log_record.h"

namespace mechsweep {

/// STEM.log, the folder of the log's segments.
std::string log_folder(const std::string& results_path);
/// Where the processes of this node append in one launch: STEM.log/HOST.KERNEL.ATTEMPT.seg. One
/// file per kernel, because appending from two of them at once is atomic on no network file system.
std::string log_segment_path(const std::string& results_path, uint32_t attempt);
/// Paths of the segments that are there, sorted; empty when there are none.
std::vector<std::string> log_segments(const std::string& results_path);

/// A whole record of a segment.
struct StoredRecord {
  int unit = -1;  ///< index into the layout's units
  JournalEntry entry;
  int64_t payload_at = 0;  ///< in the segment, in bytes
};

/// What a segment holds.
struct SegmentContents {
  std::vector<StoredRecord> records;  ///< in the order in which they were appended
  int64_t foreign = 0;                ///< whole records of another sweep
  int64_t lost_bytes = 0;  ///< of records that were cut off by a kill or damaged afterwards
  int64_t resume_at = 0;   ///< where the next record begins, or will begin
};

enum class PayloadCheck {
  none,     ///< headers only: quick, for counting; may take a torn record for the one after it
  checksum  ///< a record whose payload has not the CRC of its entry is lost
};

/// Reads segments of one sweep.
class SegmentReader {
 public:
  /// `layout` must outlive this.
  explicit SegmentReader(const FileLayout& layout);
  /// Reads a segment to its end, also while it is being appended to. After a record that is cut off
  /// or damaged it goes on at the next one. `from` is an earlier call's resume_at. Throws
  /// Error{input} when the file cannot be read.
  [[nodiscard]] SegmentContents read(const std::string& path, PayloadCheck check,
                                     int64_t from = 0) const;
  /// The payload of a record of the segment at `path`. Throws Error{input}.
  [[nodiscard]] std::vector<uint8_t> payload(const std::string& path,
                                             const StoredRecord& record) const;

 private:
  const FileLayout* layout_;
  SegmentMap map_;
  std::array<uint8_t, 32> key_{};
  std::map<std::array<uint8_t, 32>, int> units_;
};

/// A unit's payload, cut into the blocks that ResultsWriter::write_unit wants. It has the unit's
/// size.
UnitResult blocks_of(const FileLayout& layout, const SegmentMap& map, int unit,
                     const std::vector<uint8_t>& payload);

}  // namespace mechsweep
