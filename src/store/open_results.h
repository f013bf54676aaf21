#pragma once

#include <hdf5.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "store/file_layout.h"
#include "store/file_walk.h"
#include "store/hdf5_dataset.h"
#include "store/hdf5_handle.h"

namespace mechsweep {

/// A results or summary file as HDF5 shows it, opened for reading and checked: what a ResultsReader
/// holds, and what the guarded first read does. The caller holds hdf5_mutex().
class OpenResults {
 public:
  /// Throws Error{input} that names the file and what is wrong with it. With `checks_hash` the
  /// layout must have the hash that the file gives.
  /// `access` is a file access list; none: the plain one for a process alone.
  OpenResults(std::string results_path, bool checks_hash, hid_t access = H5P_DEFAULT);

  /// Opened once and kept.
  [[nodiscard]] const Dataset& dataset(const std::string& name) const;
  /// Of what units fill, /journal and /attempts.
  [[nodiscard]] std::vector<Range> raw_extents() const;

  std::string path;
  FileLayout layout;
  std::vector<std::pair<int64_t, std::string>> runs;  ///< run_index and group path, sorted
  std::map<std::string, int32_t> index;               ///< of datasets in the layout, by path
  std::set<std::string> scales;

 private:
  [[nodiscard]] DatasetSpec load(const std::string& name) const;
  void open_file(hid_t access);
  void check_format();
  void load_groups();
  void load_datasets();
  void merge_long_attribute(const Dataset& stored);
  void load_content();
  void check() const;
  void check_extents() const;
  void check_hash() const;

  int64_t end_ = 0;  ///< of the file, as its superblock says
  Hdf5Handle file_;
  FileWalk walk_;
  mutable std::map<std::string, Dataset> open_;
};

/// "/a/b/c" -> {"/a/b", "c"}; the parent of "/a" is "/".
std::pair<std::string, std::string> split_path(const std::string& path);

/// Opens and checks a file as a ResultsReader does, and that no metadata lie where results are
/// written; for ReadGuard. Throws Error{input}.
void try_results_file(const std::string& path);

}  // namespace mechsweep
