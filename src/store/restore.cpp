#include "store/restore.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "core/error.h"
#include "core/hash.h"
#include "store/journal.h"
#include "store/layout_hash.h"
#include "store/lock.h"
#include "store/metadata_copy.h"
#include "store/open_results.h"
#include "store/read_guard.h"

namespace mechsweep {
namespace {

constexpr int kUnitsTried = 256;
constexpr double kShareThatShowsKinship = 0.9;

/// STEM.lock for as long as this lives; removed at the end.
class HeldLock {
 public:
  explicit HeldLock(const std::string& path) : path_(path), lock_(FileLock::acquire(path)) {}
  ~HeldLock() {
    try {
      FileLock::release(path_);
    } catch (const Error&) {
      // A lock that stays behind belongs to nobody, and the next run takes it over.
    }
  }
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;

 private:
  std::string path_;
  std::unique_ptr<FileLock> lock_;
};

/// A sparse file beside the results that holds nothing but metadata; gone with this.
class Image {
 public:
  Image(const std::string& beside, const MetadataCopy& copy) {
    const FileDescriptor file = make_beside(beside, path_);
    try {
      copy.write_back(file, path_);
    } catch (...) {
      ::unlink(path_.c_str());
      throw;
    }
  }
  ~Image() {
    ReadGuard::forget(path_);
    ::unlink(path_.c_str());
  }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Why a file cannot be read as results, or "".
std::string fault_of(const std::string& path) {
  ReadGuard::forget(path);
  try {
    if (ReadGuard::is_running()) {
      ReadGuard::check(path);
    } else {
      try_results_file(path);
    }
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string stored_hash(const std::string& path) {
  const std::scoped_lock lock(hdf5_mutex());
  return OpenResults(path, /*checks_hash=*/true).layout.attributes.at(kLayoutHash);
}

std::vector<uint8_t> payload_in(const FileDescriptor& file, const std::string& path,
                                const OpenResults& places, const SegmentMap& map,
                                const UnitSpec& unit) {
  std::vector<uint8_t> payload;
  for (const Segment& segment : map.segments(unit)) {
    const DatasetSpec& spec = places.layout.datasets[static_cast<size_t>(segment.dataset)];
    const auto bytes = read_at(
        file, places.dataset(spec.path).extent().begin + segment.offset * spec.element_bytes(),
        segment.count * spec.element_bytes(), path);
    payload.insert(payload.end(), bytes.begin(), bytes.end());
  }
  return payload;
}

/// What the file holds at the places where the copy says that units lie.
struct UnitEvidence {
  int done = 0;
  int matching = 0;
};

UnitEvidence look_at_units(const FileDescriptor& file, const std::string& path,
                           const OpenResults& places) {
  const SegmentMap map(places.layout);
  const int64_t journal = places.dataset("/journal").extent().begin;
  UnitEvidence evidence;
  for (size_t unit = 0; unit < places.layout.units.size() && evidence.done < kUnitsTried; ++unit) {
    const auto at = static_cast<int64_t>(unit) * kJournalSlotBytes;
    const auto slot = read_at(file, journal + at, kJournalSlotBytes, path);
    if (std::ssize(slot) != kJournalSlotBytes) continue;
    const JournalEntry entry = decode_slot(slot);
    if (entry.state != UnitState::done) continue;
    ++evidence.done;
    const auto payload = payload_in(file, path, places, map, places.layout.units[unit]);
    if (payload.size() == entry.payload_bytes && crc32c(payload) == entry.payload_crc) {
      ++evidence.matching;
    }
  }
  return evidence;
}

/// Share of the copy's bytes, zeros left out, that the file has too.
double share_of_equal_bytes(const FileDescriptor& file, const std::string& path,
                            const MetadataCopy& copy) {
  int64_t equal = 0;
  int64_t all = 0;
  for (size_t i = 0; i < copy.pieces().size(); ++i) {
    const auto then = copy.bytes(i);
    auto now = read_at(file, static_cast<int64_t>(copy.pieces()[i].offset), std::ssize(then), path);
    now.resize(then.size());
    for (size_t at = 0; at < then.size(); ++at) {
      if (then[at] == 0) continue;
      ++all;
      equal += now[at] == then[at] ? 1 : 0;
    }
  }
  return all == 0 ? 0.0 : static_cast<double>(equal) / static_cast<double>(all);
}

/// Whether the copy was made from this file: a copy of another sweep would turn its results into
/// nonsense.
bool is_of(const FileDescriptor& file, const std::string& path, const MetadataCopy& copy,
           const std::string& image) {
  const std::scoped_lock lock(hdf5_mutex());
  const OpenResults places(image, /*checks_hash=*/true);
  const UnitEvidence units = look_at_units(file, path, places);
  if (units.done > 0 && 2 * units.matching >= units.done) return true;
  return units.matching == units.done &&
         share_of_equal_bytes(file, path, copy) >= kShareThatShowsKinship;
}

std::string make_copy_anew(const std::string& path, const std::string& meta,
                           const std::string& why) {
  std::vector<Range> raw;
  {
    const std::scoped_lock lock(hdf5_mutex());
    raw = OpenResults(path, /*checks_hash=*/true).raw_extents();
  }
  write_metadata_copy(path, path, raw);
  sync_folder_of(path);
  return fmt::format("{} was {} and is made anew from {}, which is as its own hash says", meta, why,
                     path);
}

}  // namespace

std::vector<std::string> restore_metadata(const std::string& path) {
  const FileDescriptor file = open_regular(path, O_RDWR, ErrorKind::input);
  const HeldLock lock(path);
  remove_left_overs(path);
  const std::string meta = companion_path(path, ".meta");
  const auto copy = MetadataCopy::load(meta);
  const std::string fault = fault_of(path);
  if (!copy) {
    if (fault.empty()) return {make_copy_anew(path, meta, "missing or damaged")};
    fail(ErrorKind::input,
         "{}; {} is missing or damaged too, so nothing can be restored: put back a copy of one of "
         "them, or remove {} and run the sweep again",
         fault, meta, path);
  }
  if (file_size(file, path) == copy->file_bytes() && copy->differences(file, path).empty()) {
    if (fault.empty()) return {fmt::format("the metadata of {} are whole: nothing to do", path)};
    fail(ErrorKind::input, "{}; {} says the same, so nothing can be restored", fault, meta);
  }
  const Image image(path, *copy);
  const std::string image_fault = fault_of(image.path());
  const bool is_usable =
      image_fault.empty() && (fault.empty() ? stored_hash(path) == stored_hash(image.path())
                                            : is_of(file, path, *copy, image.path()));
  if (!is_usable && fault.empty()) {
    return {make_copy_anew(path, meta, "that of another file")};
  }
  if (!is_usable) {
    fail(ErrorKind::input,
         "{}; {} is not the copy of this file's metadata, so nothing can be restored from it: put "
         "back the right one, or remove {} and run the sweep again",
         fault, meta, path);
  }
  const int64_t changed = copy->write_back(file, path);
  sync_file(file, path);
  ReadGuard::forget(path);
  return {fmt::format("{} bytes of metadata of {} are written back from {}", changed, path, meta)};
}

}  // namespace mechsweep
