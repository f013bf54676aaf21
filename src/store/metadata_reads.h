#pragma once

#include <string>
#include <vector>

#include "core/group.h"
#include "store/hdf5_handle.h"
#include "store/posix_file.h"

namespace mechsweep {

/// Which bytes of a file HDF5 takes for metadata, as its logging driver tells. In a damaged or
/// hostile file they can lie where units write: writing results would then change what the file
/// says about itself. Only for the guarded first read, since every read is written down.
class MetadataReads {
 public:
  /// Throws Error{resource}.
  MetadataReads();
  /// For opening the file with.
  [[nodiscard]] const Hdf5Handle& access_list() const { return access_; }
  /// After the file is closed. Throws Error{input} when a read of metadata touches one of the
  /// ranges, or when there were more reads than any file of ours needs.
  void require_outside(const std::vector<Range>& ranges) const;

 private:
  FileDescriptor log_;
  std::string log_path_;
  Hdf5Handle access_;
};

}  // namespace mechsweep
