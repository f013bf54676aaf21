#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/array_spec.h"
#include "store/file_layout.h"
#include "store/journal.h"
#include "store/unit_sink.h"
#include "store/unit_source.h"

namespace mechsweep {

/// One launch of the program on the file, as a fixed-size JSON record in /attempts.
struct AttemptRecord {
  Json facts = Json::object();
};
inline constexpr int64_t kAttemptRecordBytes = 4096;
inline constexpr int64_t kAttemptSlots = 256;

/// Step 1 of creating a file; one rank, serially, which holds STEM.lock. Makes a new temporary file
/// `.STEM.XXXXXX.tmp` beside `path` with every group, dataset (contiguous, early allocation, those
/// of 1 MiB and more aligned to 1 MiB) and attribute of the layout, /units, /targets, /journal and
/// /attempts, closes it and returns its path. Removes what dead creations of the same file left.
/// Throws Error{resource} when the folder cannot be written or the disk is full; leaves nothing.
std::string create_temporary_file(const std::string& path, const FileLayout& layout);
/// Step 3; one rank: syncs, writes STEM.meta, renames into place, syncs the folder. On an Error the
/// temporary file is gone.
void publish_file(const std::string& temporary, const std::string& path);
/// All three steps by one process. Throws as they do; leaves nothing but a whole file.
void create_file_alone(const std::string& path, const FileLayout& layout);

/// An open results file that units are written to. No metadata changes after creation: every rank
/// opens the file for itself and writes whole segments to their places with pwrite, so nothing here
/// is collective, and calls may come from any thread. I/O failures throw Error{resource} naming
/// file and unit.
class ResultsWriter final : public UnitSink, public UnitSource {
 public:
  /// Opens an existing file of exactly this layout. Throws Error{input} when it is not that.
  ResultsWriter(const std::string& path, const FileLayout& layout);
  ~ResultsWriter() override;
  ResultsWriter(const ResultsWriter&) = delete;
  ResultsWriter& operator=(const ResultsWriter&) = delete;

  /// Step 2 of creating: writes this rank's share of the fill values, then syncs, so that a full
  /// disk or quota shows now.
  void prefill(int rank, int ranks);
  /// Writes the unit's payload, then its journal entry.
  void write_unit(int unit, const UnitResult& result, JournalEntry entry) override;
  void write_state(int unit, const JournalEntry& entry) override;
  void write_attempt(int slot, const AttemptRecord& record) override;
  /// fdatasync.
  void sync() override;
  [[nodiscard]] CrashMark crash_mark(int unit, const JournalEntry& entry) const override;
  /// What other ranks wrote is seen as far as the file system shows it.
  [[nodiscard]] JournalEntry read_entry(int unit) const override;
  [[nodiscard]] std::vector<uint8_t> read_payload(int unit) const override;
  void close() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads a results or summary file alone, also while a run is writing it. Takes no lock on it.
class ResultsReader {
 public:
  /// Checks that the file is ours and its structure is what `format_version` says. Throws
  /// Error{input} naming what is wrong.
  explicit ResultsReader(const std::string& path);
  ~ResultsReader();
  ResultsReader(const ResultsReader&) = delete;
  ResultsReader& operator=(const ResultsReader&) = delete;

  /// Root, group and dataset attributes, datasets (sorted by path) without their filled-by-units
  /// content, units and targets, rebuilt from the file alone.
  [[nodiscard]] const FileLayout& layout() const;
  [[nodiscard]] std::vector<JournalEntry> journal() const;
  /// Units whose journal slot holds something that is no entry; they read as not computed.
  [[nodiscard]] std::vector<int> damaged_slots() const;
  [[nodiscard]] std::vector<AttemptRecord> attempts() const;
  /// The elements of a segment as little-endian bytes.
  [[nodiscard]] std::vector<uint8_t> read(const Segment& segment) const;
  /// The concatenated payload of a unit.
  [[nodiscard]] std::vector<uint8_t> read_payload(int unit) const;
  /// Whether the stored payload is the one that a done entry speaks of. After a power loss an entry
  /// can be on disk without its payload, so a resume asks before it believes.
  [[nodiscard]] bool payload_matches(int unit, const JournalEntry& entry) const;
  /// Byte ranges of the file that change while a sweep runs (what units fill, /journal,
  /// /attempts, and HDF5's mark of an open file), sorted. Everything else is metadata for
  /// STEM.meta.
  [[nodiscard]] std::vector<Range> raw_extents() const;
  /// Run ids in file order (their index is UnitSpec::run).
  [[nodiscard]] std::vector<std::string> run_ids() const;
  [[nodiscard]] StoredRun read_run(int run) const;
  /// Any dataset, widened to double, by path; throws Error{input} when missing.
  [[nodiscard]] StoredArray read_array(const std::string& path) const;
  [[nodiscard]] std::vector<std::string> read_texts(const std::string& path) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What verify found.
struct Verification {
  int64_t units = 0;
  int64_t done = 0;
  int64_t failed = 0;  ///< failed, crashed or quarantined
  int64_t skipped = 0;
  int64_t left = 0;
  std::vector<std::string> damage;  ///< one sentence each; non-empty means exit 3
  std::vector<std::string> notes;   ///< what could not be checked, one sentence each
  std::vector<std::string> failed_ids;
  std::string digest;  ///< SHA-256 over (id, payload) of done units in plan order
};
/// Checks the metadata against STEM.meta before HDF5 sees the file and against the file's own hash,
/// then every journal slot, and every done unit's payload against its journal entry. A unit whose
/// payload does not match counts as left. When metadata are damaged so that the file cannot be
/// read, or differ from STEM.meta and there is no ReadGuard, nothing else is looked at. Throws
/// Error{input} when the file is not ours or not there.
Verification verify_file(const std::string& path);

/// Throws Error{input} that names the units (of `run`, -1: of all runs) whose journal entry or
/// payload is damaged, and says how they are computed anew: for what prints or uses their numbers.
void require_whole_units(const ResultsReader& reader, const std::string& path, int run);

/// Differences between the config of a file and of a new run, one sentence each ("seed: 42 in the
/// file, 43 now"), from their canonical JSON.
std::vector<std::string> describe_differences(const Json& in_file, const Json& now);
/// The same of the root attribute `identity` of two files, as one text; "none that the files tell"
/// where that attribute is the same or cannot be read.
std::string identity_differences(const Json& in_file_attributes, const Json& now_attributes);
/// Sentences in one line, with semicolons between them.
std::string joined(const std::vector<std::string>& sentences);

}  // namespace mechsweep
