#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "store/file_layout.h"
#include "store/log_record.h"
#include "store/log_segment.h"
#include "store/posix_file.h"
#include "store/results_file.h"
#include "store/unit_sink.h"
#include "store/unit_source.h"

namespace mechsweep {

/// Log mode: appends every unit as one record to a segment, in a single write, so that processes of
/// one machine can share it and a kill leaves at most a torn record, which readers leave out. The
/// results file itself is touched by one rank only, which gives its writer for attempt records.
class LogWriter final : public UnitSink, public UnitSource {
 public:
  /// Opens the segment (its folder must be there) or makes it. `file` is the writer of the results
  /// file on rank 0, null pointer elsewhere. With `is_read_back` every record is synced as it is
  /// written, because other nodes are going to read it in this launch. Throws Error{resource}.
  LogWriter(const std::string& results_path, FileLayout layout, uint32_t attempt,
            std::unique_ptr<ResultsWriter> file, bool is_read_back = false);

  void write_unit(int unit, const UnitResult& result, JournalEntry entry) override;
  void write_state(int unit, const JournalEntry& entry) override;
  void write_attempt(int slot, const AttemptRecord& record) override;
  void sync() override;
  [[nodiscard]] CrashMark crash_mark(int unit, const JournalEntry& entry) const override;
  /// What stands in the segments of all nodes, else in the file.
  [[nodiscard]] JournalEntry read_entry(int unit) const override;
  [[nodiscard]] std::vector<uint8_t> read_payload(int unit) const override;
  void close() override;

  /// Records that this process has appended.
  [[nodiscard]] int64_t records() const { return records_; }
  [[nodiscard]] const std::string& segment() const { return path_; }

 private:
  [[nodiscard]] LogHeader header_of(int unit, const JournalEntry& entry) const;
  void append(int unit, const std::vector<uint8_t>& record);
  /// Takes note of records that have been appended since the last call.
  void look() const;
  /// Of ranks that have no writer of the file.
  [[nodiscard]] const ResultsReader& reader() const;

  struct Found {
    std::string segment;
    StoredRecord record;
  };
  std::string results_path_;
  std::string path_;
  FileLayout layout_;
  SegmentMap map_;
  std::array<uint8_t, 32> key_;
  FileDescriptor segment_;
  std::unique_ptr<ResultsWriter> file_;
  bool is_read_back_;
  std::atomic<int64_t> records_ = 0;
  SegmentReader segments_;
  mutable std::mutex mutex_;                     ///< of what follows
  mutable std::map<std::string, int64_t> seen_;  ///< bytes, by segment
  mutable std::map<int, Found> found_;           ///< by unit
  mutable std::unique_ptr<ResultsReader> reader_;
  mutable std::vector<JournalEntry> journal_;  ///< the reader's; in log mode it stays as it is
};

/// One process, which holds STEM.lock, before any rank makes a LogWriter: makes STEM.log. Throws
/// Error{resource}.
void make_log_folder(const std::string& results_path);

}  // namespace mechsweep
