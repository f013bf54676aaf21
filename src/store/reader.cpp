#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "core/hash.h"
#include "store/file_head.h"
#include "store/file_walk.h"
#include "store/hdf5_attributes.h"
#include "store/hdf5_dataset.h"
#include "store/hdf5_handle.h"
#include "store/metadata_copy.h"
#include "store/posix_file.h"
#include "store/results_file.h"
#include "store/unit_table.h"

namespace mechsweep {
namespace {

bool is_internal(const std::string& path) {
  return path == "/journal" || path == "/attempts" || path.starts_with("/units/") ||
         path.starts_with("/targets/");
}

/// "/a/b/c" -> {"/a/b", "c"}; the parent of "/a" is "/".
std::pair<std::string, std::string> split_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

struct ResultsReader::State {
  std::string path;
  Hdf5Handle file;
  FileWalk walk;
  FileLayout layout;
  std::unique_ptr<SegmentMap> map;
  std::vector<std::pair<int64_t, std::string>> runs;  ///< run_index and group path, sorted
  std::map<std::string, int32_t> index;               ///< of datasets in the layout, by path
  std::set<std::string> scales;
  mutable std::map<std::string, Dataset> open;

  /// Opened once and kept.
  const Dataset& dataset(const std::string& name) const {
    const auto found = open.find(name);
    return found != open.end() ? found->second
                               : open.try_emplace(name, file.get(), name).first->second;
  }

  [[nodiscard]] DatasetSpec load(const std::string& name) const {
    if (!std::binary_search(walk.datasets.begin(), walk.datasets.end(), name)) {
      fail(ErrorKind::input, "it has no dataset {}", name);
    }
    const Dataset& stored = dataset(name);
    DatasetSpec spec = stored.spec();
    spec.content = stored.read(0, spec.elements());
    return spec;
  }

  void open_file() {
    check_file_head(path);
    const Hdf5Handle access(SoloFileAccess().make_access_list(), H5Pclose);
    file = own(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, ErrorKind::input,
               "the file cannot be opened");
    check_format();
    walk = walk_file(file.get());
    load_groups();
    load_datasets();
    const LoadDataset loader = [this](const std::string& name) { return load(name); };
    layout.units = load_units(loader);
    layout.targets = load_targets(loader, layout.datasets);
    load_content();
    check();
    map = std::make_unique<SegmentMap>(layout);
  }

  void check_format() {
    layout.attributes = read_attributes(file.get(), "/");
    const Json format = layout.attributes.value("format", Json());
    if (format != kResultsFormat && format != kSummaryFormat) {
      fail(ErrorKind::input, "it is an HDF5 file, but not one that mechsweep made");
    }
    const Json version = layout.attributes.value("format_version", Json());
    if (version != kFormatVersion) {
      fail(ErrorKind::input, "it has format version {}, and this program reads version {}",
           version.dump(), kFormatVersion);
    }
  }

  void load_groups() {
    for (const auto& name : walk.groups) {
      const Hdf5Handle group = own(H5Gopen2(file.get(), name.c_str(), H5P_DEFAULT), H5Gclose,
                                   ErrorKind::input, fmt::format("group {}", name));
      const Json attributes = read_attributes(group.get(), name);
      if (name == "/units" || name == "/targets") continue;
      layout.groups.push_back({name, attributes});
      if (name.starts_with("/runs/") && attributes.contains("run_index")) {
        if (!attributes["run_index"].is_number_integer()) {
          fail(ErrorKind::input, "attribute run_index of {} is not a whole number", name);
        }
        runs.emplace_back(attributes["run_index"].get<int64_t>(), name);
      }
    }
    std::sort(runs.begin(), runs.end());
    for (size_t i = 0; i < runs.size(); ++i) {
      if (runs[i].first != static_cast<int64_t>(i)) {
        fail(ErrorKind::input, "run {} is missing; the file is damaged", i);
      }
    }
  }

  void load_datasets() {
    for (const auto& name : walk.datasets) {
      if (is_internal(name)) continue;
      const Dataset stored(file.get(), name);
      DatasetSpec spec = stored.spec();
      spec.attributes = read_attributes(stored.id(), name);
      if (spec.attributes.contains(kLongAttributeMark)) {
        merge_long_attribute(stored);
        continue;
      }
      spec.scales = scales_of(stored, walk);
      for (const auto& scale : spec.scales) scales.insert(scale);
      if (is_scale(stored)) scales.insert(name);
      index[name] = static_cast<int32_t>(layout.datasets.size());
      layout.datasets.push_back(std::move(spec));
    }
  }

  /// An attribute of a group that was too long for HDF5 lies beside the group's members.
  void merge_long_attribute(const Dataset& stored) {
    const auto [parent, name] = split_path(stored.spec().path);
    const auto texts =
        unpack_texts(stored.read(0, stored.spec().elements()), stored.spec().text_size);
    Json value = texts;
    if (stored.spec().shape.empty()) value = texts.at(0);
    if (parent == "/") layout.attributes[name] = value;
    for (auto& group : layout.groups) {
      if (group.path == parent) group.attributes[name] = value;
    }
  }

  void load_content() {
    std::set<int32_t> filled;
    for (const auto& target : layout.targets) filled.insert(target.dataset);
    for (size_t i = 0; i < layout.datasets.size(); ++i) {
      auto& spec = layout.datasets[i];
      if (!filled.contains(static_cast<int32_t>(i))) {
        spec.content = dataset(spec.path).read(0, spec.elements());
      }
    }
  }

  void check() const {
    try {
      check_layout(layout);
    } catch (const Error& error) {
      fail(ErrorKind::input, "its parts do not fit together ({}); the file is damaged",
           error.message());
    }
    const std::vector<int64_t> journal{std::ssize(layout.units), kJournalSlotBytes};
    const std::vector<int64_t> attempts{kAttemptSlots, kAttemptRecordBytes};
    if (dataset("/journal").spec().shape != journal ||
        dataset("/attempts").spec().shape != attempts) {
      fail(ErrorKind::input, "/journal or /attempts has a wrong size; the file is damaged");
    }
  }

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

  /// Per prompt 1 when every unit of the run that holds it is done or skipped.
  [[nodiscard]] std::vector<uint8_t> complete_prompts(
      int run, const std::vector<JournalEntry>& entries) const {
    std::vector<uint8_t> complete;
    for (size_t unit = 0; unit < entries.size(); ++unit) {
      const UnitSpec& spec = layout.units[unit];
      if (spec.run != run) continue;
      if (std::ssize(complete) < spec.prompts.end) {
        complete.resize(static_cast<size_t>(spec.prompts.end), 1);
      }
      const UnitState now = entries[unit].state;
      if (now == UnitState::done || now == UnitState::skipped) continue;
      std::fill(complete.begin() + spec.prompts.begin, complete.begin() + spec.prompts.end,
                uint8_t{0});
    }
    return complete;
  }

  [[nodiscard]] const DatasetSpec& find(const std::string& name) const {
    const auto found = index.find(name);
    if (found == index.end()) fail(ErrorKind::input, "{} has no dataset {}", path, name);
    return layout.datasets[static_cast<size_t>(found->second)];
  }
};

ResultsReader::ResultsReader(const std::string& path) : state_(std::make_unique<State>()) {
  // HDF5 can crash or hang on damaged metadata, so it sees the file only after the copy was
  // compared.
  const MetadataCheck metadata = check_metadata(path);
  if (!metadata.damage.empty()) fail(ErrorKind::input, "{}", metadata.damage.front());
  const std::scoped_lock lock(hdf5_mutex());
  start_hdf5();
  state_->path = path;
  try {
    state_->open_file();
  } catch (const Error& error) {
    // The look at the head names the file by itself.
    if (error.message().starts_with(path)) throw;
    throw error.within(path);
  }
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

std::vector<AttemptRecord> ResultsReader::attempts() const {
  const std::scoped_lock lock(hdf5_mutex());
  const Dataset& stored = state_->dataset("/attempts");
  const auto bytes = stored.read(0, stored.spec().elements());
  std::vector<AttemptRecord> records;
  for (const auto& text : unpack_texts(bytes, kAttemptRecordBytes)) {
    if (text.empty()) continue;
    Json facts = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!facts.is_object()) facts = {{"unreadable", true}};
    records.push_back({std::move(facts)});
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
  for (const Segment& segment : state_->map->segments(spec)) {
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
  // HDF5 marks the file as open for writing in this byte; a killed run leaves the mark behind.
  constexpr Range kOpenMark{kOpenMarkAt, kOpenMarkAt + 1};
  std::vector<Range> extents{kOpenMark, state_->dataset("/journal").extent(),
                             state_->dataset("/attempts").extent()};
  std::set<int32_t> filled;
  for (const auto& target : state_->layout.targets) filled.insert(target.dataset);
  for (const int32_t i : filled) {
    extents.push_back(
        state_->dataset(state_->layout.datasets[static_cast<size_t>(i)].path).extent());
  }
  std::sort(extents.begin(), extents.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return extents;
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
  out.complete = state_->complete_prompts(run, journal());
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
