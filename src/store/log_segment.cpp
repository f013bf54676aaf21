#include "store/log_segment.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "core/hash.h"
#include "store/file_system.h"
#include "store/lock.h"
#include "store/posix_file.h"

namespace mechsweep {
namespace {

constexpr int64_t kChunk = int64_t{1} << 20;
constexpr std::string_view kExtension = ".seg";
constexpr size_t kKernelLetters = 8;

/// Names of hosts may hold anything; names of files should not.
std::string as_file_name(std::string text) {
  for (char& letter : text) {
    const bool is_plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                          (letter >= '0' && letter <= '9') || letter == '-' || letter == '_';
    if (!is_plain) letter = '_';
  }
  return text;
}

/// One segment, read from front to back.
class Scan {
 public:
  explicit Scan(const std::string& path)
      : path_(path),
        file_(open_regular(path, O_RDONLY, ErrorKind::input)),
        size_(file_size(file_, path)) {}

  [[nodiscard]] int64_t size() const { return size_; }

  [[nodiscard]] std::optional<LogHeader> header(int64_t at) const {
    return decode_log_header(read_at(file_, at, std::min(kLogHeaderBytes, size_ - at), path_));
  }

  /// Whether the payload lies within the file and is the one that the entry speaks of.
  [[nodiscard]] bool payload_is_whole(int64_t at, const LogHeader& header,
                                      PayloadCheck check) const {
    if (header.payload_bytes > static_cast<uint64_t>(size_ - at)) return false;
    const int64_t end = at + static_cast<int64_t>(header.payload_bytes);
    // A record that was cut off can be followed by one of another rank, within the bytes that the
    // first speaks of; without reading the payload only the place after it tells.
    if (check == PayloadCheck::none) return end == size_ || begins_record(end);
    uint32_t crc = 0;
    for (; at < end; at += kChunk) {
      const int64_t count = std::min(kChunk, end - at);
      const auto bytes = read_at(file_, at, count, path_);
      if (std::ssize(bytes) < count) return false;
      crc = crc32c(bytes, crc);
    }
    return header.payload_bytes == 0 || crc == header.entry.payload_crc;
  }

  /// The next place at or after `at` where a record may begin; the file's end when there is none.
  [[nodiscard]] int64_t next_magic(int64_t at) const {
    constexpr auto kOverlap = static_cast<int64_t>(kLogMagic.size()) - 1;
    for (; at < size_; at += kChunk - kOverlap) {
      const auto bytes = read_at(file_, at, std::min(kChunk, size_ - at), path_);
      const auto found =
          std::search(bytes.begin(), bytes.end(), kLogMagic.begin(), kLogMagic.end(),
                      [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); });
      if (found != bytes.end()) return at + (found - bytes.begin());
      if (at + kChunk >= size_) break;
    }
    return size_;
  }

 private:
  /// Whether what stands at `at`, as far as the file goes, is the beginning of a record.
  [[nodiscard]] bool begins_record(int64_t at) const {
    const auto bytes =
        read_at(file_, at, std::min<int64_t>(std::ssize(kLogMagic), size_ - at), path_);
    return std::equal(bytes.begin(), bytes.end(), kLogMagic.begin(),
                      [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); });
  }

  std::string path_;
  FileDescriptor file_;
  int64_t size_;
};

}  // namespace

std::string log_folder(const std::string& results_path) {
  return companion_path(results_path, ".log");
}

std::string log_segment_path(const std::string& results_path, uint32_t attempt) {
  const NodeIdentity node = this_node();
  return fmt::format("{}/{}.{}.{}{}", log_folder(results_path), as_file_name(node.host),
                     as_file_name(node.kernel).substr(0, kKernelLetters), attempt, kExtension);
}

std::vector<std::string> log_segments(const std::string& results_path) {
  std::vector<std::string> paths;
  std::error_code error;
  std::filesystem::directory_iterator folder;
  do {
    folder = std::filesystem::directory_iterator(log_folder(results_path), error);
  } while (error == std::errc::interrupted);
  if (error == std::errc::no_such_file_or_directory) return paths;
  if (error) {
    fail(ErrorKind::resource, "{} cannot be listed: {}; {}", log_folder(results_path),
         error.message(), remedy(error.value()));
  }
  for (const auto& entry : folder) {
    if (entry.path().extension() == kExtension) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

SegmentReader::SegmentReader(const FileLayout& layout)
    : layout_(&layout), map_(layout), key_(log_key(layout)) {
  for (int unit = 0; unit < std::ssize(layout.units); ++unit) {
    units_.emplace(layout.units[static_cast<size_t>(unit)].id, unit);
  }
}

SegmentContents SegmentReader::read(const std::string& path, PayloadCheck check,
                                    int64_t from) const {
  const Scan scan(path);
  SegmentContents contents;
  contents.resume_at = from;
  for (int64_t at = from; at < scan.size();) {
    const auto header = scan.header(at);
    const auto found = header ? units_.find(header->unit) : units_.end();
    const bool is_ours = header && header->key == key_ && found != units_.end();
    bool is_whole = header && scan.payload_is_whole(at + kLogHeaderBytes, *header, check);
    if (is_ours && header->entry.state == UnitState::done) {
      const UnitSpec& unit = layout_->units[static_cast<size_t>(found->second)];
      is_whole =
          is_whole && static_cast<int64_t>(header->payload_bytes) == map_.payload_bytes(unit);
    }
    if (!is_whole) {
      const int64_t next = scan.next_magic(at + 1);
      contents.lost_bytes += next - at;
      at = next;
      continue;
    }
    at += kLogHeaderBytes;
    if (is_ours) contents.records.push_back({found->second, header->entry, at});
    if (!is_ours) ++contents.foreign;
    at += static_cast<int64_t>(header->payload_bytes);
    contents.resume_at = at;
  }
  return contents;
}

std::vector<uint8_t> SegmentReader::payload(const std::string& path,
                                            const StoredRecord& record) const {
  if (record.entry.state != UnitState::done) return {};
  const FileDescriptor file = open_regular(path, O_RDONLY, ErrorKind::input);
  auto bytes =
      read_at(file, record.payload_at, static_cast<int64_t>(record.entry.payload_bytes), path);
  if (bytes.size() != record.entry.payload_bytes || crc32c(bytes) != record.entry.payload_crc) {
    fail(ErrorKind::input, "{} changed while it was read; start the same command again", path);
  }
  return bytes;
}

UnitResult blocks_of(const FileLayout& layout, const SegmentMap& map, int unit,
                     const std::vector<uint8_t>& payload) {
  UnitResult result;
  const UnitSpec& spec = layout.units[static_cast<size_t>(unit)];
  auto from = payload.begin();
  for (const TargetDataset* target : map.targets(spec)) {
    const auto& dataset = layout.datasets[static_cast<size_t>(target->dataset)];
    int64_t bytes = 0;
    for (const Segment& segment : map.segments(spec, *target)) {
      bytes += segment.count * dataset.element_bytes();
    }
    result.blocks.push_back({.bytes = {from, from + bytes}});
    from += bytes;
  }
  return result;
}

}  // namespace mechsweep
