#include "store/log_fold.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "store/log_segment.h"
#include "store/posix_file.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

/// Higher wins; see supersedes.
int precedence(const JournalEntry& entry) {
  if (entry.state == UnitState::done) return 3;
  if (entry.state == UnitState::skipped) return 2;
  return entry.state == UnitState::empty ? 0 : 1;
}

/// The record of each unit that is to go into the file.
struct Choice {
  std::string path;
  StoredRecord record;
};

/// The folder, unless something is still in it.
void remove_folder(const std::string& results_path) {
  const std::string folder = log_folder(results_path);
  if (::rmdir(folder.c_str()) == 0) sync_folder_of(folder);
}

/// A run may fold and remove a segment at any moment.
std::optional<SegmentContents> read_if_there(const SegmentReader& reader,
                                             const std::string& segment, PayloadCheck check) {
  try {
    return reader.read(segment, check);
  } catch (const Error&) {
    if (::access(segment.c_str(), F_OK) == 0) throw;
    return std::nullopt;
  }
}

class Fold {
 public:
  explicit Fold(std::string results_path) : path_(std::move(results_path)) {}

  FoldReport run(const std::vector<std::string>& expected, int64_t records) {
    const auto listed = log_segments(path_);
    std::set<std::string> segments(listed.begin(), listed.end());
    segments.insert(expected.begin(), expected.end());
    if (segments.empty()) {
      remove_folder(path_);
      return report_;
    }
    choose(segments);
    write();
    if (report_.records < records) {
      fail(ErrorKind::resource,
           "{}: only {} of {} units that were appended to {} came back; they stay there: start the "
           "same command again, which puts them into the file or computes them anew",
           path_, report_.records, records, log_folder(path_));
    }
    for (const std::string& segment : finished_) remove_file(segment);
    remove_folder(path_);
    return report_;
  }

 private:
  /// Reads everything first: the file must not be open for reading when its writer is made.
  void choose(const std::set<std::string>& segments) {
    const ResultsReader reader(path_);
    layout_ = reader.layout();
    auto journal = reader.journal();
    std::set<int> checked;
    segment_reader_.emplace(layout_);
    for (const std::string& segment : segments) {
      const SegmentContents contents = segment_reader_->read(segment, PayloadCheck::checksum);
      report_.records += std::ssize(contents.records);
      report_.lost_bytes += contents.lost_bytes;
      if (contents.foreign > 0) {
        report_.foreign.push_back(segment);
      } else {
        finished_.push_back(segment);
      }
      for (const StoredRecord& record : contents.records) {
        JournalEntry& present = journal[static_cast<size_t>(record.unit)];
        // After a power loss an entry can be on disk without its payload.
        if (checked.insert(record.unit).second && present.state == UnitState::done &&
            !reader.payload_matches(record.unit, present)) {
          present = {};
        }
        if (present == record.entry || !supersedes(record.entry, present)) continue;
        present = record.entry;
        chosen_[record.unit] = {segment, record};
      }
    }
  }

  void write() {
    if (chosen_.empty()) return;
    const SegmentMap map(layout_);
    ResultsWriter writer(path_, layout_);
    for (const auto& [unit, choice] : chosen_) {
      const JournalEntry& entry = choice.record.entry;
      if (entry.state == UnitState::done) {
        const auto payload = segment_reader_->payload(choice.path, choice.record);
        writer.write_unit(unit, blocks_of(layout_, map, unit, payload), entry);
      } else {
        writer.write_state(unit, entry);
      }
    }
    writer.sync();
    writer.close();
    report_.units = std::ssize(chosen_);
  }

  std::string path_;
  FileLayout layout_;
  std::optional<SegmentReader> segment_reader_;
  std::map<int, Choice> chosen_;
  std::vector<std::string> finished_;
  FoldReport report_;
};

}  // namespace

bool supersedes(const JournalEntry& candidate, const JournalEntry& present) {
  if (precedence(candidate) != precedence(present)) {
    return precedence(candidate) > precedence(present);
  }
  return precedence(candidate) == 1 && candidate.attempt >= present.attempt;
}

FoldReport fold_log(const std::string& results_path, const std::vector<std::string>& expected,
                    int64_t records) {
  return Fold(results_path).run(expected, records);
}

void remove_log(const std::string& results_path) {
  for (const std::string& segment : log_segments(results_path)) remove_file(segment);
  remove_folder(results_path);
}

int64_t overlay_log(const std::string& results_path, const FileLayout& layout,
                    std::vector<JournalEntry>& journal, std::vector<std::string>* damage) {
  const auto segments = log_segments(results_path);
  if (segments.empty()) return 0;
  const SegmentReader reader(layout);
  const auto check = damage == nullptr ? PayloadCheck::none : PayloadCheck::checksum;
  std::set<int> replaced;
  for (const std::string& segment : segments) {
    const auto found = read_if_there(reader, segment, check);
    if (!found) continue;
    const SegmentContents& contents = *found;
    if (damage != nullptr && contents.lost_bytes > 0) {
      damage->push_back(
          fmt::format("{} has {} bytes of records that were cut off or are damaged; "
                      "their units will be computed again",
                      segment, contents.lost_bytes));
    }
    for (const StoredRecord& record : contents.records) {
      JournalEntry& present = journal[static_cast<size_t>(record.unit)];
      if (present == record.entry || !supersedes(record.entry, present)) continue;
      present = record.entry;
      replaced.insert(record.unit);
    }
  }
  return std::ssize(replaced);
}

}  // namespace mechsweep
