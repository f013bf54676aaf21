#pragma once

#include <hdf5.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "store/hdf5_dataset.h"

namespace mechsweep {

/// Every object of a file.
struct FileWalk {
  std::vector<std::string> groups;         ///< without the root; parents before children
  std::vector<std::string> datasets;       ///< sorted by path
  std::map<haddr_t, std::string> path_of;  ///< datasets by the address of their header
  std::set<haddr_t> headers;               ///< of all groups and datasets
};

/// Walks all links of a file. Throws Error{input} for links out of the file, soft links, objects
/// with several names (a damaged file can hold a cycle), other objects than groups and datasets,
/// and nesting that is too deep to be ours.
FileWalk walk_file(hid_t file);

/// Per dimension the path of the dimension scale of an open dataset, or "". Empty when it has none.
std::vector<std::string> scales_of(const Dataset& dataset, const FileWalk& walk);

/// Whether a dataset is marked as a dimension scale.
bool is_scale(const Dataset& dataset);

}  // namespace mechsweep
