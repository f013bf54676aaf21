#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "store/lock.h"
#include "store/log_segment.h"
#include "store/results_file.h"

namespace mechsweep {

/// Throws Error{usage} with the differences when two files are not of the same sweep.
void check_same_sweep(const std::string& first, const FileLayout& first_layout,
                      const std::string& second, const FileLayout& second_layout);

/// The locks that a merge holds. An input in a folder that cannot be written cannot be locked; it
/// is refused if somebody else holds its lock.
class MergeLocks {
 public:
  /// Throws Error{usage} when a file is given twice, Error{input} when an input is missing,
  /// Error{resource} naming the owner when a lock is held.
  MergeLocks(const std::string& out, const std::vector<std::string>& inputs);
  ~MergeLocks();
  MergeLocks(const MergeLocks&) = delete;
  MergeLocks& operator=(const MergeLocks&) = delete;

 private:
  void release();

  std::vector<std::pair<std::string, std::unique_ptr<FileLock>>> held_;
};

/// A results file with the log beside it, read as one. Entries whose payload is damaged are empty.
class MergeInput {
 public:
  explicit MergeInput(const std::string& path);
  [[nodiscard]] const ResultsReader& reader() const { return reader_; }
  [[nodiscard]] const FileLayout& layout() const { return reader_.layout(); }
  [[nodiscard]] const std::vector<JournalEntry>& journal() const { return journal_; }
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }
  /// The payload of a done unit, as ResultsWriter wants it; checked once more against `entry`.
  [[nodiscard]] UnitResult blocks(int unit, const JournalEntry& entry) const;

 private:
  void read_log();

  struct InLog {
    std::string segment;
    StoredRecord record;
  };
  std::string path_;
  ResultsReader reader_;
  SegmentMap map_;
  SegmentReader segments_;
  std::vector<JournalEntry> journal_;
  std::map<int, InLog> in_log_;
  std::vector<std::string> notes_;
};

/// The numbers that launches of other files get in a file, and their records there.
class AttemptTable {
 public:
  using Write = std::function<void(int slot, const AttemptRecord& record)>;
  AttemptTable(const std::vector<AttemptRecord>& present, Write write);
  /// Adds the launches of one file, unless an earlier merge has; the new number of each. A record
  /// that finds no slot free is left out, its number is not given to another one.
  std::map<int64_t, int64_t> add(const std::string& file,
                                 const std::vector<AttemptRecord>& attempts);
  [[nodiscard]] int64_t left_out() const { return left_out_; }

 private:
  Write write_;
  std::map<std::string, int64_t> known_;  ///< numbers by where a record came from
  int64_t last_ = 0;
  int64_t left_out_ = 0;
};

}  // namespace mechsweep
