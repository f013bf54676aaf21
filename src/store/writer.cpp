#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <limits>
#include <map>
#include <utility>

#include "core/hash.h"
#include "store/file_head.h"
#include "store/hdf5_dataset.h"
#include "store/hdf5_handle.h"
#include "store/posix_file.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

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

/// The record as JSON text of fixed size; what does not fit is left out, largest first.
std::vector<uint8_t> attempt_bytes(Json facts) {
  Json left_out = Json::array();
  while (facts.dump().size() >= static_cast<size_t>(kAttemptRecordBytes) && !facts.empty()) {
    std::string largest;
    size_t size = 0;
    for (const auto& [name, value] : facts.items()) {
      if (name != "left_out" && value.dump().size() > size) {
        largest = name;
        size = value.dump().size();
      }
    }
    facts.erase(largest);
    left_out.push_back(largest);
    facts["left_out"] = left_out;
  }
  const std::string text = facts.dump();
  std::vector<uint8_t> bytes(text.begin(), text.end());
  bytes.resize(static_cast<size_t>(kAttemptRecordBytes), 0);
  return bytes;
}

}  // namespace

struct ResultsWriter::State {
  std::string path;
  FileLayout layout;
  SegmentMap map;
  bool is_collective = false;
  bool failed = false;
  FileDescriptor own_descriptor;
  Hdf5Handle file;
  std::map<int32_t, Dataset> targets;
  std::unique_ptr<Dataset> journal;
  std::unique_ptr<Dataset> attempts;

  State(std::string file_path, const FileLayout& file_layout)
      : path(std::move(file_path)), layout(file_layout), map(layout) {}

  /// Lets go of everything without closing it.
  void abandon() {
    for (auto& [index, dataset] : targets) dataset.abandon();
    if (journal) journal->abandon();
    if (attempts) attempts->abandon();
    file.release();
  }

  /// What can fail on one rank alone, before the ranks open the file together.
  void prepare(const FileAccess& access) {
    std::exception_ptr failure;
    try {
      check_file_head(path);
      own_descriptor = open_file(path, O_RDWR, ErrorKind::resource);
    } catch (const Error&) {
      failure = std::current_exception();
    }
    const bool all_are_ready = access.all_agree(failure == nullptr);
    if (failure != nullptr) std::rethrow_exception(failure);
    if (!all_are_ready) fail(ErrorKind::resource, "{} could not be opened by another rank", path);
  }

  void open(const FileAccess& access) {
    is_collective = access.is_collective();
    const Hdf5Handle list(access.make_access_list(), H5Pclose);
    file = own(H5Fopen(path.c_str(), H5F_ACC_RDWR, list.get()), H5Fclose, ErrorKind::input,
               "the file cannot be opened for writing");
    for (const auto& target : layout.targets) {
      const auto& spec = layout.datasets[static_cast<size_t>(target.dataset)];
      targets.try_emplace(target.dataset, file.get(), spec.path);
      expect(targets.at(target.dataset).spec(), spec.type, spec.shape);
    }
    journal = std::make_unique<Dataset>(file.get(), "/journal");
    expect(journal->spec(), ElementType::u8, {std::ssize(layout.units), kJournalSlotBytes});
    attempts = std::make_unique<Dataset>(file.get(), "/attempts");
    expect(attempts->spec(), ElementType::u8, {kAttemptSlots, kAttemptRecordBytes});
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
  void guarded(const std::string& purpose, Write write) {
    const std::scoped_lock lock(hdf5_mutex());
    try {
      write();
    } catch (const Error& error) {
      failed = true;
      throw Error(error.kind(),
                  error.message() +
                      "; what is journalled is safe: mend the cause and start the "
                      "same command again to resume",
                  {path, purpose});
    }
  }

  [[nodiscard]] std::string name_unit(int unit) const {
    return fmt::format("unit {} ({})", unit,
                       to_hex(layout.units[static_cast<size_t>(unit)].id).substr(0, 12));
  }

  void check_unit(int unit) const {
    ensure(unit >= 0 && unit < std::ssize(layout.units), "a unit's number is out of range");
  }

  void write_slot(int unit, const JournalEntry& entry) {
    journal->write(unit * kJournalSlotBytes, encode_slot(entry));
  }

  void prefill_part(const Dataset& dataset, Range part, bool with_zeros) {
    const auto& spec = dataset.spec();
    const int64_t chunk = std::min(part.size(), kPrefillBytes / spec.element_bytes());
    if (chunk <= 0) return;
    auto bytes = fill_bytes(spec.type, chunk);
    if (with_zeros) std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    for (int64_t at = part.begin; at < part.end; at += chunk) {
      const int64_t count = std::min(chunk, part.end - at);
      dataset.write(at, std::span(bytes).first(static_cast<size_t>(count * spec.element_bytes())));
    }
  }
};

ResultsWriter::ResultsWriter(const std::string& path, const FileLayout& layout,
                             const FileAccess& access)
    : state_(std::make_unique<State>(path, layout)) {
  const std::scoped_lock lock(hdf5_mutex());
  start_hdf5();
  state_->prepare(access);
  try {
    state_->open(access);
  } catch (const Error& error) {
    if (state_->is_collective) state_->abandon();
    throw error.within(path);
  }
}

ResultsWriter::~ResultsWriter() {
  const std::scoped_lock lock(hdf5_mutex());
  if (state_->failed || (state_->is_collective && state_->file.is_open())) state_->abandon();
}

void ResultsWriter::prefill(int rank, int ranks) {
  state_->guarded("prefilling", [&] {
    for (const auto& [index, dataset] : state_->targets) {
      state_->prefill_part(dataset, even_part(dataset.spec().elements(), ranks, rank), false);
    }
    for (const Dataset* dataset : {state_->journal.get(), state_->attempts.get()}) {
      state_->prefill_part(*dataset, even_part(dataset->spec().elements(), ranks, rank), true);
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
      const Dataset& dataset = state_->targets.at(targets[i]->dataset);
      std::span<const uint8_t> bytes = result.blocks[i].bytes;
      entry.payload_crc = crc32c(bytes, entry.payload_crc);
      entry.payload_bytes += bytes.size();
      for (const Segment& segment : state_->map.segments(spec, *targets[i])) {
        const auto length = static_cast<size_t>(segment.count * dataset.spec().element_bytes());
        if (bytes.size() < length) break;
        dataset.write(segment.offset, bytes.first(length));
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
    state_->attempts->write(slot % kAttemptSlots * kAttemptRecordBytes,
                            attempt_bytes(record.facts));
  });
}

void ResultsWriter::sync() {
  if (::fdatasync(state_->own_descriptor.get()) == 0) return;
  const int error = errno;
  state_->guarded("syncing to disk", [&] { fail(ErrorKind::resource, "{}", errno_text(error)); });
}

SlotPlace ResultsWriter::slot_place(int unit) const {
  state_->check_unit(unit);
  return {state_->own_descriptor.get(), state_->journal->extent().begin + unit * kJournalSlotBytes};
}

void ResultsWriter::close() {
  const std::scoped_lock lock(hdf5_mutex());
  state_->targets.clear();
  state_->journal.reset();
  state_->attempts.reset();
  state_->guarded("closing", [&] {
    if (!state_->file.close()) fail(ErrorKind::resource, "{}", hdf5_reason());
  });
}

}  // namespace mechsweep
