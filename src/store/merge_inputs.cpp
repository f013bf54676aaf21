#include "store/merge_inputs.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "core/hash.h"
#include "store/log_fold.h"
#include "store/posix_file.h"

namespace mechsweep {
namespace {

/// The number of a launch in the file that it was recorded in; 0 when the record does not say.
int64_t number_of(const AttemptRecord& record) {
  const auto found = record.facts.find("attempt");
  return found != record.facts.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

/// Refuses when somebody holds the lock of a file that this process cannot lock itself.
void refuse_if_held(const std::string& path) {
  const std::string lock = companion_path(path, ".lock");
  if (::access(lock.c_str(), F_OK) != 0) return;
  const FileDescriptor file = open_regular(lock, O_RDONLY, ErrorKind::resource);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  fail(ErrorKind::resource, "{} is held by a run that writes {}; wait for it, and try again", lock,
       path);
}

}  // namespace

void check_same_sweep(const std::string& first, const FileLayout& first_layout,
                      const std::string& second, const FileLayout& second_layout) {
  const Json& a = first_layout.attributes;
  const Json& b = second_layout.attributes;
  const auto id_of = [](const UnitSpec& unit) { return unit.id; };
  if (a.value("key", "") == b.value("key", "") && a.value("format", "") == b.value("format", "") &&
      std::ranges::equal(first_layout.units, second_layout.units, {}, id_of, id_of)) {
    return;
  }
  fail(ErrorKind::usage,
       "{} and {} are not of the same sweep and cannot be merged; differences (\"in the file\" is "
       "the first, \"now\" the second): {}",
       first, second, identity_differences(a, b));
}

MergeLocks::MergeLocks(const std::string& out, const std::vector<std::string>& inputs) {
  std::set<std::filesystem::path> given{std::filesystem::weakly_canonical(out)};
  for (const std::string& input : inputs) {
    if (!given.insert(std::filesystem::weakly_canonical(input)).second) {
      fail(ErrorKind::usage, "{} is given twice; name every file once, the one to write first",
           input);
    }
    if (!std::filesystem::exists(input)) fail(ErrorKind::input, "{} is not there", input);
  }
  try {
    held_.emplace_back(out, FileLock::acquire(out));
    for (const std::string& input : inputs) {
      if (::access(folder_of(input).c_str(), W_OK) == 0) {
        held_.emplace_back(input, FileLock::acquire(input));
      } else {
        refuse_if_held(input);
      }
    }
  } catch (const Error&) {
    release();
    throw;
  }
}

MergeLocks::~MergeLocks() {
  release();
}

void MergeLocks::release() {
  for (const auto& [path, lock] : held_) {
    // One that cannot be removed holds nobody up: its owner is gone then.
    ::unlink(companion_path(path, ".lock").c_str());
  }
  held_.clear();
}

MergeInput::MergeInput(const std::string& path)
    : path_(path), reader_(path), map_(reader_.layout()), segments_(reader_.layout()) {
  journal_ = reader_.journal();
  for (size_t unit = 0; unit < journal_.size(); ++unit) {
    JournalEntry& entry = journal_[unit];
    if (entry.state != UnitState::done || reader_.payload_matches(static_cast<int>(unit), entry)) {
      continue;
    }
    entry = {};
    notes_.push_back(fmt::format("unit {} is damaged in {} and was not taken from it", unit, path));
  }
  read_log();
}

void MergeInput::read_log() {
  for (const std::string& segment : log_segments(path_)) {
    const SegmentContents contents = segments_.read(segment, PayloadCheck::checksum);
    if (contents.foreign > 0) {
      notes_.push_back(segment + " holds units of another sweep, which were not taken");
    }
    for (const StoredRecord& record : contents.records) {
      JournalEntry& present = journal_[static_cast<size_t>(record.unit)];
      if (present == record.entry || !supersedes(record.entry, present)) continue;
      present = record.entry;
      in_log_[record.unit] = {segment, record};
    }
  }
}

UnitResult MergeInput::blocks(int unit, const JournalEntry& entry) const {
  const auto found = in_log_.find(unit);
  const auto payload = found != in_log_.end()
                           ? segments_.payload(found->second.segment, found->second.record)
                           : reader_.read_payload(unit);
  if (payload.size() != entry.payload_bytes || crc32c(payload) != entry.payload_crc) {
    fail(ErrorKind::input, "unit {} of {} changed while it was merged; merge again", unit, path_);
  }
  return blocks_of(layout(), map_, unit, payload);
}

AttemptTable::AttemptTable(const std::vector<AttemptRecord>& present, Write write)
    : write_(std::move(write)) {
  for (const AttemptRecord& record : present) {
    last_ = std::max(last_, number_of(record));
    const auto from = record.facts.find("merged_from");
    if (from != record.facts.end()) known_[from->dump()] = number_of(record);
  }
}

std::map<int64_t, int64_t> AttemptTable::add(const std::string& file,
                                             const std::vector<AttemptRecord>& attempts) {
  std::map<int64_t, int64_t> numbers;
  for (const AttemptRecord& attempt : attempts) {
    const int64_t number = number_of(attempt);
    const Json from = {
        {"file", file}, {"attempt", number}, {"started", attempt.facts.value("started", Json())}};
    const auto known = known_.find(from.dump());
    const int64_t mine = known == known_.end() ? ++last_ : known->second;
    numbers[number] = mine;
    if (mine < 1 || mine > kAttemptSlots) {
      ++left_out_;
      continue;
    }
    AttemptRecord record = attempt;
    record.facts["attempt"] = mine;
    record.facts["merged_from"] = from;
    known_[from.dump()] = mine;
    write_(static_cast<int>(mine - 1), record);
  }
  return numbers;
}

}  // namespace mechsweep
