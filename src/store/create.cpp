#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <utility>

#include <hdf5_hl.h>

#include "store/hdf5_attributes.h"
#include "store/hdf5_dataset.h"
#include "store/hdf5_handle.h"
#include "store/layout_hash.h"
#include "store/lock.h"
#include "store/metadata_copy.h"
#include "store/posix_file.h"
#include "store/results_file.h"
#include "store/unit_table.h"

namespace mechsweep {
namespace {

constexpr hsize_t kAlignment = hsize_t{1} << 20;
constexpr hsize_t kMetadataBlock = hsize_t{1} << 16;

/// Removes a file when it goes, unless told to keep it.
class Removal {
 public:
  explicit Removal(std::string path) : path_(std::move(path)) {}
  ~Removal() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  Removal(const Removal&) = delete;
  Removal& operator=(const Removal&) = delete;
  void keep() { path_.clear(); }

 private:
  std::string path_;
};

/// What would be renamed into place would replace the link, not what it points to.
void refuse_link(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_symlink(path, ignored)) return;
  fail(ErrorKind::resource,
       "{} is a symbolic link, which is not written through; give the file itself", path);
}

/// Makes an empty file `.STEM.XXXXXX.tmp` and returns its path.
std::string make_temporary(const std::string& path) {
  const std::string stem = companion_path(path, "");
  remove_left_overs(stem);
  remove_left_overs(companion_path(path, ".meta"));
  std::string temporary;
  make_beside(stem, temporary);
  return temporary;
}

/// Runs a step of creating `path`, again when a signal interrupts it in HDF5. The program has made
/// whatever it cannot read there, so that is no fault of a user's file.
template <typename Step>
auto while_creating(const std::string& path, Step step) {
  try {
    return again_if_interrupted(step);
  } catch (const Error& error) {
    const auto kind = error.kind() == ErrorKind::input ? ErrorKind::resource : error.kind();
    throw advised(Error(kind, error.message(), error.context())).within(path);
  }
}

/// Options of an HDF5 file that never changes again.
Hdf5Handle make_creation_access() {
  Hdf5Handle access = make_file_access();
  H5Pset_alignment(access.get(), kAlignment, kAlignment);
  H5Pset_meta_block_size(access.get(), kMetadataBlock);
  return access;
}

Hdf5Handle make_link_options() {
  Hdf5Handle links = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose, ErrorKind::internal, "HDF5");
  H5Pset_create_intermediate_group(links.get(), 1);
  return links;
}

class Creation {
 public:
  Creation(std::string path, hid_t file)
      : path_(std::move(path)), file_(file), links_(make_link_options()) {
    options_ = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, ErrorKind::internal, "HDF5");
    H5Pset_layout(options_.get(), H5D_CONTIGUOUS);
    H5Pset_alloc_time(options_.get(), H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(options_.get(), H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(options_.get(), false);  // the same layout gives the same bytes
  }

  void run(const FileLayout& layout) {
    Json root = layout.attributes;
    root[kLayoutHash] = std::string(64, '0');  // filled in by seal()
    if (!root.contains("format")) root["format"] = kResultsFormat;
    if (!root.contains("format_version")) root["format_version"] = kFormatVersion;
    write_attributes(file_, root, "/");
    for (const auto& group : layout.groups) make_group(group);
    for (const auto& dataset : layout.datasets) make_dataset(dataset);
    for (const auto& dataset : unit_table_datasets(layout)) make_dataset(dataset);
    make_bytes("/journal", std::ssize(layout.units), kJournalSlotBytes);
    make_bytes("/attempts", kAttemptSlots, kAttemptRecordBytes);
    attach_scales(layout);
  }

 private:
  void make_group(const GroupSpec& spec) {
    const std::string what = fmt::format("group {} cannot be made", spec.path);
    // It may be there already as the parent of an earlier one.
    const bool exists = H5Lexists(file_, spec.path.c_str(), H5P_DEFAULT) > 0;
    H5Eclear2(H5E_DEFAULT);
    const Hdf5Handle group =
        own(exists ? H5Gopen2(file_, spec.path.c_str(), H5P_DEFAULT)
                   : H5Gcreate2(file_, spec.path.c_str(), links_.get(), H5P_DEFAULT, H5P_DEFAULT),
            H5Gclose, ErrorKind::resource, what);
    write_attributes(group.get(), spec.attributes, spec.path);
  }

  void make_dataset(const DatasetSpec& spec) {
    const std::string what = fmt::format("dataset {} cannot be made", spec.path);
    const Hdf5Handle type = make_element_type(spec);
    const std::vector<hsize_t> dims(spec.shape.begin(), spec.shape.end());
    const Hdf5Handle space =
        own(dims.empty() ? H5Screate(H5S_SCALAR)
                         : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
            H5Sclose, ErrorKind::internal, what);
    const Hdf5Handle dataset = own(H5Dcreate2(file_, spec.path.c_str(), type.get(), space.get(),
                                              links_.get(), options_.get(), H5P_DEFAULT),
                                   H5Dclose, ErrorKind::resource, what);
    write_attributes(dataset.get(), spec.attributes, spec.path);
    if (spec.content.empty()) return;
    check_hdf5(
        H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, spec.content.data()),
        ErrorKind::resource, fmt::format("dataset {} cannot be written", spec.path));
  }

  void make_bytes(const std::string& name, int64_t rows, int64_t row_bytes) {
    DatasetSpec spec;
    spec.path = name;
    spec.type = ElementType::u8;
    spec.shape = {rows, row_bytes};
    make_dataset(spec);
  }

  [[nodiscard]] Hdf5Handle open_dataset(const std::string& name) const {
    return own(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose, ErrorKind::internal,
               fmt::format("dataset {} cannot be opened", name));
  }

  void attach_scales(const FileLayout& layout) {
    std::set<std::string> made;
    for (const auto& spec : layout.datasets) {
      for (size_t axis = 0; axis < spec.scales.size(); ++axis) {
        const std::string& name = spec.scales[axis];
        if (name.empty()) continue;
        const std::string what = fmt::format("scale {} of dataset {}", name, spec.path);
        const Hdf5Handle scale = open_dataset(name);
        if (made.insert(name).second) {
          check_hdf5(H5DSset_scale(scale.get(), name_of(name).c_str()), ErrorKind::resource, what);
        }
        const Hdf5Handle dataset = open_dataset(spec.path);
        check_hdf5(H5DSattach_scale(dataset.get(), scale.get(), static_cast<unsigned>(axis)),
                   ErrorKind::resource, what);
      }
    }
  }

  std::string path_;
  hid_t file_;
  Hdf5Handle links_;
  Hdf5Handle options_;
};

/// Gives the file the hash of its layout, as it is read back.
void seal(const std::string& temporary) {
  const std::string hash = hash_stored_layout(temporary);
  const std::string what = fmt::format("attribute {} cannot be written", kLayoutHash);
  const Hdf5Handle access = make_file_access();
  Hdf5Handle file = own(H5Fopen(temporary.c_str(), H5F_ACC_RDWR, access.get()), H5Fclose,
                        ErrorKind::resource, what);
  {
    const Hdf5Handle attribute =
        own(H5Aopen(file.get(), kLayoutHash, H5P_DEFAULT), H5Aclose, ErrorKind::resource, what);
    const Hdf5Handle type(make_text_type(std::ssize(hash)), H5Tclose);
    check_hdf5(H5Awrite(attribute.get(), type.get(), hash.data()), ErrorKind::resource, what);
  }
  if (!file.close()) fail(ErrorKind::resource, "{}: {}", what, hdf5_reason());
}

}  // namespace

std::string create_temporary_file(const std::string& path, const FileLayout& layout) {
  const std::scoped_lock lock(hdf5_mutex());
  start_hdf5();
  check_layout(layout);
  refuse_link(path);
  return while_creating(path, [&] {
    std::string temporary = make_temporary(path);
    Removal removal(temporary);
    const Hdf5Handle access = make_creation_access();
    const Hdf5Handle options =
        own(H5Pcreate(H5P_FILE_CREATE), H5Pclose, ErrorKind::internal, "HDF5");
    H5Pset_obj_track_times(options.get(), false);
    Hdf5Handle file = own(H5Fcreate(temporary.c_str(), H5F_ACC_TRUNC, options.get(), access.get()),
                          H5Fclose, ErrorKind::resource, "an HDF5 file cannot be made");
    Creation(temporary, file.get()).run(layout);
    if (!file.close()) fail(ErrorKind::resource, "it cannot be written: {}", hdf5_reason());
    // By itself, so that its interruptions do not undo what is done.
    again_if_interrupted([&] { seal(temporary); });
    removal.keep();
    return temporary;
  });
}

void publish_file(const std::string& temporary, const std::string& path) {
  Removal removal(temporary);
  sync_file(open_file(temporary, O_RDWR, ErrorKind::resource), temporary);
  if (::access(path.c_str(), F_OK) == 0) {
    fail(ErrorKind::resource, "{} was made by another process in the meantime; start again", path);
  }
  Removal copy(companion_path(path, ".meta"));
  while_creating(path, [&] {
    // An older file that was removed must not come back after a power loss, beside the new copy.
    sync_folder_of(path);
    write_metadata_copy(temporary, path, ResultsReader(temporary).raw_extents());
    // Before the file has its name: a copy of an older file's metadata must not outlive a power
    // loss beside the new file.
    sync_folder_of(path);
    rename_file(temporary, path);
  });
  removal.keep();
  copy.keep();
  sync_folder_of(path);
}

void create_file_alone(const std::string& path, const FileLayout& layout) {
  const std::string temporary = create_temporary_file(path, layout);
  Removal removal(temporary);
  while_creating(path, [&] {
    ResultsWriter writer(temporary, layout);
    writer.prefill(0, 1);
    writer.close();
  });
  publish_file(temporary, path);
  removal.keep();
}

}  // namespace mechsweep
