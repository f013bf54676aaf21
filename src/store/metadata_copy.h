#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/group.h"

namespace mechsweep {

/// Writes STEM.meta for `results_path`: pieces of all bytes of `file` (its temporary name while it
/// is being made) outside `raw`, each with its CRC-32C and, where it is not all zeros, a copy.
/// `raw` is sorted. Synced and renamed into place. Throws Error{resource}.
void write_metadata_copy(const std::string& file, const std::string& results_path,
                         const std::vector<Range>& raw);

/// What a comparison with STEM.meta found.
struct MetadataCheck {
  bool has_copy = false;            ///< false: no STEM.meta, so nothing was compared
  std::vector<std::string> damage;  ///< one sentence each
};
/// Compares the metadata of a results file with STEM.meta, without HDF5. Damage is also a STEM.meta
/// that is damaged itself, and a file shorter than it was. Throws Error{input} when the results
/// file cannot be read.
MetadataCheck check_metadata(const std::string& results_path);

}  // namespace mechsweep
