#include "store/open_results.h"

#include <algorithm>
#include <utility>

#include "experiments/format_version.h"
#include "store/file_head.h"
#include "store/hdf5_attributes.h"
#include "store/layout_hash.h"
#include "store/metadata_reads.h"
#include "store/results_file.h"
#include "store/unit_table.h"

namespace mechsweep {
namespace {

bool is_internal(const std::string& path) {
  return path == "/journal" || path == "/attempts" || path.starts_with("/units/") ||
         path.starts_with("/targets/");
}

}  // namespace

std::pair<std::string, std::string> split_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

OpenResults::OpenResults(std::string results_path, bool checks_hash, hid_t access)
    : path(std::move(results_path)) {
  start_hdf5();
  try {
    open_file(access);
    if (checks_hash) check_hash();
  } catch (const Error& error) {
    // The look at the head names the file by itself.
    if (error.message().starts_with(path)) throw;
    throw error.within(path);
  }
}

const Dataset& OpenResults::dataset(const std::string& name) const {
  const auto found = open_.find(name);
  return found != open_.end() ? found->second
                              : open_.try_emplace(name, file_.get(), name).first->second;
}

DatasetSpec OpenResults::load(const std::string& name) const {
  if (!std::binary_search(walk_.datasets.begin(), walk_.datasets.end(), name)) {
    fail(ErrorKind::input, "it has no dataset {}; the file is damaged", name);
  }
  const Dataset& stored = dataset(name);
  DatasetSpec spec = stored.spec();
  spec.content = stored.read(0, spec.elements());
  return spec;
}

void OpenResults::open_file(hid_t access) {
  end_ = check_file_head(path);
  const Hdf5Handle plain = make_file_access();
  const hid_t list = access == H5P_DEFAULT ? plain.get() : access;
  try {
    file_ = again_if_interrupted([&] {
      return own(H5Fopen(path.c_str(), H5F_ACC_RDONLY, list), H5Fclose, ErrorKind::input,
                 "the file cannot be opened");
    });
  } catch (const Error& error) {
    // HDF5 does not tell a failing disk from a damaged file.
    throw Error(error.kind(),
                error.message() + "; if the file is whole, check the disk and start again");
  }
  check_format();
  walk_ = walk_file(file_.get());
  check_extents();
  load_groups();
  load_datasets();
  const LoadDataset loader = [this](const std::string& name) { return load(name); };
  layout.units = load_units(loader);
  layout.targets = load_targets(loader, layout.datasets);
  load_content();
  check();
}

void OpenResults::check_format() {
  layout.attributes = read_attributes(file_.get(), "/");
  const Json format = layout.attributes.value("format", Json());
  if (format != kResultsFormat && format != kSummaryFormat) {
    fail(ErrorKind::input, "it is an HDF5 file, but not one that mechsweep made");
  }
  const Json version = layout.attributes.value("format_version", Json());
  if (version != kFormatVersion) {
    fail(ErrorKind::input, "it has format version {}, and this program reads version {}",
         version.dump(-1, ' ', false, Json::error_handler_t::replace), kFormatVersion);
  }
}

/// No two datasets share bytes, none lies outside the file or over the head of an object: or what
/// is written to one would change another.
void OpenResults::check_extents() const {
  std::vector<std::pair<Range, std::string>> extents;
  for (const std::string& name : walk_.datasets) {
    const Range extent = dataset(name).extent();
    if (extent.size() > 0) extents.emplace_back(extent, name);
  }
  std::sort(extents.begin(), extents.end(),
            [](const auto& a, const auto& b) { return a.first.begin < b.first.begin; });
  int64_t taken = kSuperblockBytes;
  for (const auto& [extent, name] : extents) {
    if (extent.begin < taken || extent.end > end_) {
      fail(ErrorKind::input,
           "dataset {} lies over something else or outside the file; the file is damaged", name);
    }
    const auto header = walk_.headers.lower_bound(static_cast<haddr_t>(extent.begin));
    if (header != walk_.headers.end() && static_cast<int64_t>(*header) < extent.end) {
      fail(ErrorKind::input, "dataset {} lies over another object; the file is damaged", name);
    }
    taken = extent.end;
  }
}

void OpenResults::load_groups() {
  for (const auto& name : walk_.groups) {
    const Hdf5Handle group = own(H5Gopen2(file_.get(), name.c_str(), H5P_DEFAULT), H5Gclose,
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

void OpenResults::load_datasets() {
  for (const auto& name : walk_.datasets) {
    if (is_internal(name)) continue;
    const Dataset stored(file_.get(), name);
    DatasetSpec spec = stored.spec();
    spec.attributes = read_attributes(stored.id(), name);
    if (spec.attributes.contains(kLongAttributeMark)) {
      merge_long_attribute(stored);
      continue;
    }
    spec.scales = scales_of(stored, walk_);
    for (const auto& scale : spec.scales) scales.insert(scale);
    if (is_scale(stored)) scales.insert(name);
    index[name] = static_cast<int32_t>(layout.datasets.size());
    layout.datasets.push_back(std::move(spec));
  }
}

/// An attribute of a group that was too long for HDF5 lies beside the group's members.
void OpenResults::merge_long_attribute(const Dataset& stored) {
  const auto [parent, name] = split_path(stored.spec().path);
  const auto texts =
      unpack_texts(stored.read(0, stored.spec().elements()), stored.spec().text_size);
  Json value = texts;
  if (stored.spec().shape.empty() && !texts.empty()) value = texts.front();
  if (parent == "/") layout.attributes[name] = value;
  for (auto& group : layout.groups) {
    if (group.path == parent) group.attributes[name] = value;
  }
}

void OpenResults::load_content() {
  std::set<int32_t> filled;
  for (const auto& target : layout.targets) filled.insert(target.dataset);
  for (size_t i = 0; i < layout.datasets.size(); ++i) {
    auto& spec = layout.datasets[i];
    if (!filled.contains(static_cast<int32_t>(i))) {
      spec.content = dataset(spec.path).read(0, spec.elements());
    }
  }
}

void OpenResults::check() const {
  try {
    check_layout(layout);
  } catch (const Error& error) {
    fail(ErrorKind::input, "its parts do not fit together ({}); the file is damaged",
         error.message());
  }
  const std::vector<int64_t> journal{std::ssize(layout.units), kJournalSlotBytes};
  const std::vector<int64_t> attempts{kAttemptSlots, kAttemptRecordBytes};
  for (const auto& [name, shape] : {std::pair{"/journal", journal}, {"/attempts", attempts}}) {
    if (!std::binary_search(walk_.datasets.begin(), walk_.datasets.end(), name)) {
      fail(ErrorKind::input, "it has no dataset {}; the file is damaged", name);
    }
    const DatasetSpec& spec = dataset(name).spec();
    if (spec.shape != shape || spec.type != ElementType::u8 || spec.text_size > 0) {
      fail(ErrorKind::input, "{} has a wrong size; the file is damaged", name);
    }
  }
  for (const auto& target : layout.targets) {
    const std::string& name = layout.datasets[static_cast<size_t>(target.dataset)].path;
    if (target.run < 0 || target.run >= std::ssize(runs) ||
        !name.starts_with(runs[static_cast<size_t>(target.run)].second + "/")) {
      fail(ErrorKind::input, "dataset {} is not of the run that fills it; the file is damaged",
           name);
    }
  }
  for (const auto& unit : layout.units) {
    if (unit.run < 0 || unit.run >= std::ssize(runs)) {
      fail(ErrorKind::input, "a unit is of run {}, which is missing; the file is damaged",
           unit.run);
    }
    if (unit.prompts.end > end_) {
      fail(ErrorKind::input, "a unit has more prompts than the file has bytes; it is damaged");
    }
  }
}

void OpenResults::check_hash() const {
  const Json stored = layout.attributes.value(kLayoutHash, Json());
  if (!stored.is_string()) {
    fail(ErrorKind::input,
         "it has no {}: it is damaged, or was made by a development version that wrote none; run "
         "the sweep again into another file",
         kLayoutHash);
  }
  if (stored != layout_hash(layout)) {
    fail(ErrorKind::input,
         "what it says about itself (names, shapes, attributes, prompts) is not what was written; "
         "the file is damaged");
  }
}

std::vector<Range> OpenResults::raw_extents() const {
  // HDF5 marks the file as open for writing in this byte; a killed run leaves the mark behind.
  constexpr Range kOpenMark{kOpenMarkAt, kOpenMarkAt + 1};
  std::vector<Range> extents{kOpenMark, dataset("/journal").extent(),
                             dataset("/attempts").extent()};
  std::set<int32_t> filled;
  for (const auto& target : layout.targets) filled.insert(target.dataset);
  for (const int32_t i : filled) {
    extents.push_back(dataset(layout.datasets[static_cast<size_t>(i)].path).extent());
  }
  std::sort(extents.begin(), extents.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return extents;
}

void try_results_file(const std::string& path) {
  const std::scoped_lock lock(hdf5_mutex());
  start_hdf5();
  const MetadataReads reads;
  std::vector<Range> raw;
  {
    const OpenResults file(path, /*checks_hash=*/true, reads.access_list().get());
    raw = file.raw_extents();
  }
  try {
    reads.require_outside(raw);
  } catch (const Error& error) {
    throw error.within(path);
  }
}

std::string hash_stored_layout(const std::string& path) {
  const std::scoped_lock lock(hdf5_mutex());
  return layout_hash(OpenResults(path, /*checks_hash=*/false).layout);
}

}  // namespace mechsweep
