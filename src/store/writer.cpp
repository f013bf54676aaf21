#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "core/hash.h"
#include "store/attempt_record.h"
#include "store/file_head.h"
#include "store/hdf5_dataset.h"
#include "store/hdf5_handle.h"
#include "store/posix_file.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

constexpr const char* kSafe = "; what is journalled is safe";
constexpr int64_t kPrefillBytes = int64_t{4} << 20;

/// `count` elements of the value that means "not computed yet".
std::vector<uint8_t> fill_bytes(ElementType type, int64_t count) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count * element_size(type)), 0xFF);
  const auto repeat = [&](const auto& value) {
    const auto* begin = reinterpret_cast<const uint8_t*>(&value);
    for (size_t at = 0; at < bytes.size(); at += sizeof(value)) {
      std::copy(begin, begin + sizeof(value), bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }
  };
  if (type == ElementType::f64) repeat(std::numeric_limits<double>::quiet_NaN());
  if (type == ElementType::f32) repeat(std::numeric_limits<float>::quiet_NaN());
  return bytes;
}

/// A dataset that units fill: what it is, and the byte at which it begins in the file.
struct StoredDataset {
  DatasetSpec spec;
  int64_t begin = 0;

  [[nodiscard]] int64_t byte_of(int64_t element) const {
    return begin + element * spec.element_bytes();
  }
};

}  // namespace

struct ResultsWriter::State {
  std::string path;
  FileLayout layout;
  SegmentMap map;
  FileDescriptor file;
  std::map<int32_t, StoredDataset> targets;
  StoredDataset journal;
  StoredDataset attempts;

  State(std::string file_path, FileLayout file_layout)
      : path(std::move(file_path)), layout(std::move(file_layout)), map(layout) {}

  /// HDF5 says where the datasets lie, and is not needed any more from then on: they are contiguous
  /// and never move (docs/decisions/0012-units-by-pwrite.md).
  void open() {
    check_file_head(path);
    file = open_regular(path, O_RDWR, ErrorKind::resource);
    const Hdf5Handle list = make_file_access();
    const Hdf5Handle hdf5 = again_if_interrupted([&] {
      return own(H5Fopen(path.c_str(), H5F_ACC_RDONLY, list.get()), H5Fclose, ErrorKind::input,
                 "the file cannot be opened");
    });
    for (const auto& target : layout.targets) {
      const auto& spec = layout.datasets[static_cast<size_t>(target.dataset)];
      if (!targets.contains(target.dataset))
        targets[target.dataset] = find(hdf5.get(), spec.path, spec.type, spec.shape);
    }
    journal = find(hdf5.get(), "/journal", ElementType::u8,
                   {std::ssize(layout.units), kJournalSlotBytes});
    attempts = find(hdf5.get(), "/attempts", ElementType::u8, {kAttemptSlots, kAttemptRecordBytes});
  }

  static StoredDataset find(hid_t hdf5, const std::string& name, ElementType type,
                            const std::vector<int64_t>& shape) {
    const Dataset dataset(hdf5, name);
    expect(dataset.spec(), type, shape);
    return {dataset.spec(), dataset.extent().begin};
  }

  static void expect(const DatasetSpec& found, ElementType type,
                     const std::vector<int64_t>& shape) {
    if (found.type != type || found.text_size > 0 || found.shape != shape) {
      fail(ErrorKind::input,
           "dataset {} has not the type and shape that this sweep gives it; was the file made by "
           "another version?",
           found.path);
    }
  }

  /// Runs a write; an I/O failure gets the file's name, what it was for, and what to do.
  template <typename Write>
  void guarded(const std::string& purpose, Write write) const {
    try {
      write();
    } catch (const Error& error) {
      throw Error(error.kind(), advised(error).message() + kSafe, {path, purpose});
    }
  }

  [[nodiscard]] std::string name_unit(int unit) const {
    return fmt::format("unit {} ({})", unit,
                       to_hex(layout.units[static_cast<size_t>(unit)].id).substr(0, 12));
  }

  void check_unit(int unit) const {
    ensure(unit >= 0 && unit < std::ssize(layout.units), "a unit's number is out of range");
  }

  /// Bytes of the file that hold what a unit stored.
  [[nodiscard]] std::vector<uint8_t> read_back(int unit, int64_t offset, int64_t count) const {
    std::vector<uint8_t> bytes;
    try {
      bytes = read_at(file, offset, count, path);
    } catch (const Error& error) {
      throw Error(ErrorKind::resource, error.message(), {path, name_unit(unit)});
    }
    if (std::ssize(bytes) != count) {
      throw Error(ErrorKind::resource, "the file ends before what the unit stored",
                  {path, name_unit(unit)});
    }
    return bytes;
  }

  /// Writes whole elements.
  void put(const StoredDataset& dataset, int64_t offset, std::span<const uint8_t> bytes) const {
    write_at(file, dataset.byte_of(offset), bytes, fmt::format("dataset {}", dataset.spec.path));
  }

  void write_slot(int unit, const JournalEntry& entry) const {
    put(journal, unit * kJournalSlotBytes, encode_slot(entry));
  }

  void prefill_part(const StoredDataset& dataset, Range part, bool with_zeros) const {
    const auto& spec = dataset.spec;
    const int64_t chunk = std::min(part.size(), kPrefillBytes / spec.element_bytes());
    if (chunk <= 0) return;
    auto bytes = fill_bytes(spec.type, chunk);
    if (with_zeros) std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    for (int64_t at = part.begin; at < part.end; at += chunk) {
      const int64_t count = std::min(chunk, part.end - at);
      put(dataset, at, std::span(bytes).first(static_cast<size_t>(count * spec.element_bytes())));
    }
  }
};

ResultsWriter::ResultsWriter(const std::string& path, const FileLayout& layout)
    : state_(std::make_unique<State>(path, layout)) {
  const std::scoped_lock lock(hdf5_mutex());
  start_hdf5();
  try {
    state_->open();
  } catch (const Error& error) {
    // The looks at the file without HDF5 name it by themselves.
    if (error.message().starts_with(path)) throw;
    throw advised(error).within(path);
  }
}

ResultsWriter::~ResultsWriter() = default;

void ResultsWriter::prefill(int rank, int ranks) {
  state_->guarded("prefilling", [&] {
    for (const auto& [index, dataset] : state_->targets) {
      state_->prefill_part(dataset, even_part(dataset.spec.elements(), ranks, rank), false);
    }
    for (const StoredDataset* dataset : {&state_->journal, &state_->attempts}) {
      state_->prefill_part(*dataset, even_part(dataset->spec.elements(), ranks, rank), true);
    }
  });
  sync();
}

void ResultsWriter::write_unit(int unit, const UnitResult& result, JournalEntry entry) {
  state_->check_unit(unit);
  const UnitSpec& spec = state_->layout.units[static_cast<size_t>(unit)];
  const auto targets = state_->map.targets(spec);
  if (result.blocks.size() != targets.size()) {
    fail(ErrorKind::internal, "{} gave {} arrays, but {} were declared", state_->name_unit(unit),
         result.blocks.size(), targets.size());
  }
  entry.state = UnitState::done;
  entry.payload_crc = 0;
  entry.payload_bytes = 0;
  state_->guarded(state_->name_unit(unit), [&] {
    for (size_t i = 0; i < targets.size(); ++i) {
      const StoredDataset& dataset = state_->targets.at(targets[i]->dataset);
      std::span<const uint8_t> bytes = result.blocks[i].bytes;
      entry.payload_crc = crc32c(bytes, entry.payload_crc);
      entry.payload_bytes += bytes.size();
      for (const Segment& segment : state_->map.segments(spec, *targets[i])) {
        const auto length = static_cast<size_t>(segment.count * dataset.spec.element_bytes());
        if (bytes.size() < length) break;
        state_->put(dataset, segment.offset, bytes.first(length));
        bytes = bytes.subspan(length);
      }
    }
    if (static_cast<int64_t>(entry.payload_bytes) != state_->map.payload_bytes(spec)) {
      fail(ErrorKind::internal, "it gave {} bytes, but {} were declared", entry.payload_bytes,
           state_->map.payload_bytes(spec));
    }
    state_->write_slot(unit, entry);
  });
}

void ResultsWriter::write_state(int unit, const JournalEntry& entry) {
  state_->check_unit(unit);
  state_->guarded(state_->name_unit(unit), [&] { state_->write_slot(unit, entry); });
}

void ResultsWriter::write_attempt(int slot, const AttemptRecord& record) {
  state_->guarded("/attempts", [&] {
    state_->put(state_->attempts, slot % kAttemptSlots * kAttemptRecordBytes,
                encode_attempt(record.facts));
  });
}

void ResultsWriter::sync() {
  try {
    sync_data(state_->file, state_->path);
  } catch (const Error& error) {
    throw Error(error.kind(), error.message() + kSafe);
  }
}

CrashMark ResultsWriter::crash_mark(int unit, const JournalEntry& entry) const {
  state_->check_unit(unit);
  CrashMark mark{.descriptor = state_->file.get(),
                 .offset = state_->journal.byte_of(unit * kJournalSlotBytes),
                 .size = kJournalSlotBytes};
  const JournalSlot slot = encode_slot(entry);
  std::copy(slot.begin(), slot.end(), mark.bytes.begin());
  return mark;
}

JournalEntry ResultsWriter::read_entry(int unit) const {
  state_->check_unit(unit);
  const auto slot =
      state_->read_back(unit, state_->journal.byte_of(unit * kJournalSlotBytes), kJournalSlotBytes);
  return decode_slot(slot);
}

std::vector<uint8_t> ResultsWriter::read_payload(int unit) const {
  state_->check_unit(unit);
  std::vector<uint8_t> payload;
  for (const Segment& segment :
       state_->map.segments(state_->layout.units[static_cast<size_t>(unit)])) {
    const StoredDataset& dataset = state_->targets.at(segment.dataset);
    const auto bytes = state_->read_back(unit, dataset.byte_of(segment.offset),
                                         segment.count * dataset.spec.element_bytes());
    payload.insert(payload.end(), bytes.begin(), bytes.end());
  }
  return payload;
}

void ResultsWriter::close() {
  state_->file = {};
}

}  // namespace mechsweep
