#include "store/log_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/hash.h"
#include "store/log_fold.h"
#include "store/log_segment.h"

namespace mechsweep {
namespace {

/// A record that was cut off stays where it is and is written again as a whole; not for ever.
constexpr int kTries = 3;
constexpr std::string_view kAdvice =
    "what is in the log and in the file is safe: mend the cause and start the same command again "
    "to resume";

}  // namespace

LogWriter::LogWriter(const std::string& results_path, FileLayout layout, uint32_t attempt,
                     std::unique_ptr<ResultsWriter> file, bool is_read_back)
    : results_path_(results_path),
      path_(log_segment_path(results_path, attempt)),
      layout_(std::move(layout)),
      map_(layout_),
      key_(log_key(layout_)),
      segment_(open_regular(path_, O_WRONLY | O_CREAT | O_APPEND, ErrorKind::resource)),
      file_(std::move(file)),
      is_read_back_(is_read_back),
      segments_(layout_) {
  sync_folder_of(path_);
}

LogHeader LogWriter::header_of(int unit, const JournalEntry& entry) const {
  ensure(unit >= 0 && unit < std::ssize(layout_.units), "a unit's number is out of range");
  const bool is_done = entry.state == UnitState::done;
  return {.key = key_,
          .unit = layout_.units[static_cast<size_t>(unit)].id,
          .entry = entry,
          .payload_bytes = is_done ? entry.payload_bytes : 0};
}

void LogWriter::append(int unit, const std::vector<uint8_t>& record) {
  int error = EIO;
  for (int left = kTries; left > 0;) {
    const ssize_t put = ::write(segment_.get(), record.data(), record.size());
    if (put == std::ssize(record)) {
      ++records_;
      if (is_read_back_) sync();
      return;
    }
    if (put < 0 && errno == EINTR) continue;
    // The rest must not be appended: another process may have come in between.
    error = put < 0 ? errno : ENOSPC;
    --left;
  }
  throw Error(ErrorKind::resource,
              fmt::format("a record of {} bytes cannot be appended: {}; {}", record.size(),
                          errno_text(error), kAdvice),
              {path_, fmt::format("unit {}", unit)});
}

void LogWriter::write_unit(int unit, const UnitResult& result, JournalEntry entry) {
  entry.state = UnitState::done;
  entry.payload_crc = 0;
  entry.payload_bytes = 0;
  for (const ArrayBlock& block : result.blocks) {
    entry.payload_crc = crc32c(block.bytes, entry.payload_crc);
    entry.payload_bytes += block.bytes.size();
  }
  const auto header = encode_log_header(header_of(unit, entry));
  const UnitSpec& spec = layout_.units[static_cast<size_t>(unit)];
  if (result.blocks.size() != map_.targets(spec).size() ||
      static_cast<int64_t>(entry.payload_bytes) != map_.payload_bytes(spec)) {
    fail(ErrorKind::internal,
         "unit {} gave {} arrays of {} bytes in all, but {} of {} were declared", unit,
         result.blocks.size(), entry.payload_bytes, map_.targets(spec).size(),
         map_.payload_bytes(spec));
  }
  std::vector<uint8_t> record;
  record.reserve(header.size() + entry.payload_bytes);
  record.insert(record.end(), header.begin(), header.end());
  for (const ArrayBlock& block : result.blocks) {
    record.insert(record.end(), block.bytes.begin(), block.bytes.end());
  }
  append(unit, record);
}

void LogWriter::write_state(int unit, const JournalEntry& entry) {
  const auto header = encode_log_header(header_of(unit, entry));
  append(unit, {header.begin(), header.end()});
}

void LogWriter::write_attempt(int slot, const AttemptRecord& record) {
  ensure(file_ != nullptr, "attempts are recorded by rank 0");
  file_->write_attempt(slot, record);
}

void LogWriter::sync() {
  if (retried([&] { return ::fdatasync(segment_.get()); }) != 0) {
    fail(ErrorKind::resource, "{} cannot be synced to disk: {}; {}", path_, errno_text(errno),
         kAdvice);
  }
  if (file_) file_->sync();
}

CrashMark LogWriter::crash_mark(int unit, const JournalEntry& entry) const {
  const auto header = encode_log_header(header_of(unit, entry));
  CrashMark mark{.descriptor = segment_.get(), .offset = -1, .size = header.size()};
  static_assert(kLogHeaderBytes <= std::tuple_size_v<decltype(mark.bytes)>);
  std::copy(header.begin(), header.end(), mark.bytes.begin());
  return mark;
}

void LogWriter::look() const {
  for (const std::string& segment : log_segments(results_path_)) {
    int64_t& seen = seen_[segment];
    const SegmentContents contents = segments_.read(segment, PayloadCheck::checksum, seen);
    seen = contents.resume_at;
    for (const StoredRecord& record : contents.records) {
      const auto known = found_.find(record.unit);
      if (known == found_.end() || supersedes(record.entry, known->second.record.entry)) {
        found_[record.unit] = {segment, record};
      }
    }
  }
}

const ResultsReader& LogWriter::reader() const {
  if (!reader_) {
    reader_ = std::make_unique<ResultsReader>(results_path_);
    journal_ = reader_->journal();
  }
  return *reader_;
}

JournalEntry LogWriter::read_entry(int unit) const {
  const std::scoped_lock lock(mutex_);
  look();
  if (!file_) (void)reader();
  const JournalEntry in_file =
      file_ ? file_->read_entry(unit) : journal_.at(static_cast<size_t>(unit));
  const auto found = found_.find(unit);
  if (found == found_.end() || !supersedes(found->second.record.entry, in_file)) return in_file;
  return found->second.record.entry;
}

std::vector<uint8_t> LogWriter::read_payload(int unit) const {
  const std::scoped_lock lock(mutex_);
  const auto found = found_.find(unit);
  if (found != found_.end() && found->second.record.entry.state == UnitState::done) {
    return segments_.payload(found->second.segment, found->second.record);
  }
  return file_ ? file_->read_payload(unit) : reader().read_payload(unit);
}

void LogWriter::close() {
  sync();
  segment_ = FileDescriptor();
  if (file_) file_->close();
}

void make_log_folder(const std::string& results_path) {
  const std::string folder = log_folder(results_path);
  std::error_code error;
  if (std::filesystem::is_symlink(folder, error)) {
    fail(ErrorKind::resource, "{} is a symbolic link, which is not written through; remove it",
         folder);
  }
  std::filesystem::create_directory(folder, error);
  if (error) fail(ErrorKind::resource, "{} cannot be made: {}", folder, error.message());
  sync_folder_of(folder);
}

}  // namespace mechsweep
