#include <algorithm>
#include <set>
#include <utility>

#include <spdlog/spdlog.h>

#include "core/hash.h"
#include "store/attempt_record.h"
#include "store/hdf5_handle.h"
#include "store/metadata_copy.h"
#include "store/open_results.h"
#include "store/read_guard.h"
#include "store/results_file.h"

namespace mechsweep {

struct ResultsReader::State : OpenResults {
  explicit State(const std::string& results_path)
      : OpenResults(results_path, /*checks_hash=*/true), map(layout) {}

  SegmentMap map;

  [[nodiscard]] Axis axis_of(const DatasetSpec& spec, size_t number) const {
    Axis axis;
    axis.size = spec.shape[number];
    axis.name = fmt::format("axis{}", number);
    const std::string scale = spec.scales.empty() ? "" : spec.scales[number];
    if (scale.empty()) return axis;
    axis.name = split_path(scale).second;
    const Dataset& stored = dataset(scale);
    if (stored.spec().text_size > 0) {
      axis.labels = unpack_texts(stored.read(0, axis.size), stored.spec().text_size);
      return axis;
    }
    for (const double value : stored.read_doubles()) {
      axis.coordinates.push_back(static_cast<int32_t>(value));
    }
    return axis;
  }

  [[nodiscard]] StoredArray array_of(const DatasetSpec& spec, std::string name) const {
    StoredArray array;
    array.name = std::move(name);
    for (size_t i = 0; i < spec.shape.size(); ++i) array.axes.push_back(axis_of(spec, i));
    array.values = dataset(spec.path).read_doubles();
    return array;
  }

  /// Per prompt 1 when every unit of the run that holds it is done or skipped, and some are done. A
  /// unit without prompts, which decides for the others, holds all of them.
  [[nodiscard]] std::vector<uint8_t> complete_prompts(
      int run, const std::vector<JournalEntry>& entries) const {
    std::vector<uint8_t> complete;
    std::vector<uint8_t> some_done;
    bool decided = true;
    for (size_t unit = 0; unit < entries.size(); ++unit) {
      const UnitSpec& spec = layout.units[unit];
      if (spec.run != run) continue;
      const UnitState now = entries[unit].state;
      const bool done = now == UnitState::done;
      if (spec.prompts.size() == 0) decided = decided && done;
      if (std::ssize(complete) < spec.prompts.end) {
        complete.resize(static_cast<size_t>(spec.prompts.end), 1);
        some_done.resize(complete.size(), 0);
      }
      for (int64_t p = spec.prompts.begin; p < spec.prompts.end; ++p) {
        if (done) some_done[p] = 1;
        if (!done && now != UnitState::skipped) complete[p] = 0;
      }
    }
    for (size_t p = 0; p < complete.size(); ++p)
      if (!decided || some_done[p] == 0) complete[p] = 0;
    return complete;
  }

  [[nodiscard]] std::vector<LeftOutUnit> left_out_units(
      int run, const std::vector<JournalEntry>& entries) const {
    std::vector<LeftOutUnit> left_out;
    for (size_t unit = 0; unit < entries.size(); ++unit) {
      const UnitSpec& spec = layout.units[unit];
      if (spec.run == run && entries[unit].state == UnitState::skipped)
        left_out.push_back({spec.prompts, spec.first});
    }
    return left_out;
  }

  [[nodiscard]] const DatasetSpec& find(const std::string& name) const {
    const auto found = index.find(name);
    if (found == index.end()) fail(ErrorKind::input, "{} has no dataset {}", path, name);
    return layout.datasets[static_cast<size_t>(found->second)];
  }
};

namespace {

/// HDF5 can crash or hang on damaged metadata, so it sees a file only after the copy was compared,
/// and in a guarded process first.
void check_first(const std::string& path) {
  if (ReadGuard::has_passed(path)) return;
  const MetadataCheck metadata = check_metadata(path);
  if (!ReadGuard::is_running()) {
    if (!metadata.damage.empty()) fail(ErrorKind::input, "{}", metadata.damage.front());
    return;
  }
  try {
    ReadGuard::check(path);
  } catch (const Error& error) {
    if (metadata.damage.empty() || metadata.copy_is_damaged) throw;
    fail(ErrorKind::input, "{}", metadata.damage.front());
  }
  // The file is as its own hash says: then it is the copy that is damaged or another file's.
  for (const std::string& damage : metadata.damage) {
    spdlog::warn("{}; nothing that is read from it has changed", damage);
  }
}

}  // namespace

ResultsReader::ResultsReader(const std::string& path) {
  check_first(path);
  const std::scoped_lock lock(hdf5_mutex());
  state_ = std::make_unique<State>(path);
}

ResultsReader::~ResultsReader() {
  const std::scoped_lock lock(hdf5_mutex());
  state_.reset();
}

const FileLayout& ResultsReader::layout() const {
  return state_->layout;
}

std::vector<JournalEntry> ResultsReader::journal() const {
  const std::scoped_lock lock(hdf5_mutex());
  const Dataset& stored = state_->dataset("/journal");
  const auto bytes = stored.read(0, stored.spec().elements());
  std::vector<JournalEntry> entries;
  for (size_t at = 0; at < bytes.size(); at += kJournalSlotBytes) {
    entries.push_back(decode_slot(std::span(bytes).subspan(at, kJournalSlotBytes)));
  }
  return entries;
}

std::vector<int> ResultsReader::damaged_slots() const {
  const std::scoped_lock lock(hdf5_mutex());
  const Dataset& stored = state_->dataset("/journal");
  const auto bytes = stored.read(0, stored.spec().elements());
  std::vector<int> damaged;
  for (size_t at = 0; at < bytes.size(); at += kJournalSlotBytes) {
    if (is_damaged_slot(std::span(bytes).subspan(at, kJournalSlotBytes))) {
      damaged.push_back(static_cast<int>(at / kJournalSlotBytes));
    }
  }
  return damaged;
}

std::vector<AttemptRecord> ResultsReader::attempts() const {
  const std::scoped_lock lock(hdf5_mutex());
  const Dataset& stored = state_->dataset("/attempts");
  const auto bytes = stored.read(0, stored.spec().elements());
  std::vector<AttemptRecord> records;
  for (const auto& text : unpack_texts(bytes, kAttemptRecordBytes)) {
    if (text.empty()) continue;
    records.push_back({decode_attempt(text)});
  }
  return records;
}

std::vector<uint8_t> ResultsReader::read(const Segment& segment) const {
  const std::scoped_lock lock(hdf5_mutex());
  const auto& spec = state_->layout.datasets.at(static_cast<size_t>(segment.dataset));
  return state_->dataset(spec.path).read(segment.offset, segment.count);
}

std::vector<uint8_t> ResultsReader::read_payload(int unit) const {
  std::vector<uint8_t> payload;
  const UnitSpec& spec = state_->layout.units.at(static_cast<size_t>(unit));
  for (const Segment& segment : state_->map.segments(spec)) {
    const auto bytes = read(segment);
    payload.insert(payload.end(), bytes.begin(), bytes.end());
  }
  return payload;
}

bool ResultsReader::payload_matches(int unit, const JournalEntry& entry) const {
  const auto payload = read_payload(unit);
  return payload.size() == entry.payload_bytes && crc32c(payload) == entry.payload_crc;
}

std::vector<Range> ResultsReader::raw_extents() const {
  const std::scoped_lock lock(hdf5_mutex());
  return state_->raw_extents();
}

std::vector<std::string> ResultsReader::run_ids() const {
  std::vector<std::string> ids;
  for (const auto& [index, path] : state_->runs) ids.push_back(path.substr(6));  // "/runs/"
  return ids;
}

StoredRun ResultsReader::read_run(int run) const {
  const std::scoped_lock lock(hdf5_mutex());
  const State& s = *state_;
  const std::string& group = s.runs.at(static_cast<size_t>(run)).second;
  StoredRun out;
  out.id = group.substr(6);
  for (const auto& spec : s.layout.groups) {
    if (spec.path == group) out.attributes = spec.attributes;
  }
  for (const auto& spec : s.layout.datasets) {
    if (spec.path.starts_with(group + "/") && spec.text_size == 0 &&
        !s.scales.contains(spec.path)) {
      out.arrays.push_back(s.array_of(spec, spec.path.substr(group.size() + 1)));
    }
  }
  try {
    out.kind = out.attributes.value("kind", "");
    out.vocab_size = out.attributes.value("vocab_size", 0);
    const std::string prompts = out.attributes.value("prompts_group", "");
    if (!prompts.empty()) {
      for (const double length : read_array(prompts + "/lengths").values) {
        out.prompt_lengths.push_back(static_cast<int32_t>(length));
      }
      out.templates = read_texts(prompts + "/template");
      out.prompt_ids = read_texts(prompts + "/id");
    }
  } catch (const Json::exception&) {
    fail(ErrorKind::input, "{}: an attribute of {} has a wrong type", s.path, group);
  }
  const auto entries = journal();
  out.complete = state_->complete_prompts(run, entries);
  out.left_out = state_->left_out_units(run, entries);
  out.complete.resize(std::max(out.complete.size(), out.prompt_lengths.size()), 1);
  return out;
}

StoredArray ResultsReader::read_array(const std::string& path) const {
  const std::scoped_lock lock(hdf5_mutex());
  return state_->array_of(state_->find(path), split_path(path).second);
}

std::vector<std::string> ResultsReader::read_texts(const std::string& path) const {
  const std::scoped_lock lock(hdf5_mutex());
  const DatasetSpec& spec = state_->find(path);
  if (spec.text_size == 0) {
    fail(ErrorKind::input, "{}: dataset {} holds numbers, not texts", state_->path, path);
  }
  return unpack_texts(state_->dataset(path).read(0, spec.elements()), spec.text_size);
}

}  // namespace mechsweep
