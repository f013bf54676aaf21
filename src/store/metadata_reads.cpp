#include "store/metadata_reads.h"

#include <hdf5.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>

#include "core/error.h"
#include "store/file_head.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

/// HDF5 reads so much at the beginning of an object or a heap before it knows how long it is.
constexpr int64_t kSpeculativeBytes = 512;
constexpr int64_t kLongestLog = int64_t{128} << 20;

/// The bytes of a line such as "  96-  607 (  512 bytes) (H5FD_MEM_OHDR) Read" that are surely
/// metadata; empty for raw data and for other lines.
Range metadata_of(const std::string& line) {
  long long first = 0;
  long long last = 0;
  long long size = 0;
  char kind[32] = {};
  if (std::sscanf(line.c_str(), "%lld-%lld ( %lld bytes) (%31[A-Z0-9_]) Read", &first, &last, &size,
                  kind) != 4) {
    return {};
  }
  const std::string name = kind;
  if (name == "H5FD_MEM_DRAW") return {};
  const bool may_be_less = name == "H5FD_MEM_OHDR" || name == "H5FD_MEM_LHEAP";
  return {first, may_be_less && size <= kSpeculativeBytes ? first + 1 : last + 1};
}

}  // namespace

MetadataReads::MetadataReads()
    : log_(::memfd_create("metadata-reads", MFD_CLOEXEC)),
      log_path_(fmt::format("/proc/self/fd/{}", log_.get())) {
  if (!log_.is_open()) fail(ErrorKind::resource, "no memory file: {}", errno_text(errno));
  access_ = make_file_access();
  check_hdf5(H5Pset_fapl_log(access_.get(), log_path_.c_str(), H5FD_LOG_LOC_READ, 0),
             ErrorKind::internal, "HDF5 cannot log");
}

void MetadataReads::require_outside(const std::vector<Range>& ranges) const {
  if (file_size(log_, log_path_) > kLongestLog) {
    fail(ErrorKind::input, "its parts are too many; the file is damaged");
  }
  std::ifstream log(log_path_);
  for (std::string line; std::getline(log, line);) {
    const Range read = metadata_of(line);
    for (const Range& range : ranges) {
      // The superblock's mark of an open file is the one exception.
      if (range.begin < kSuperblockBytes || read.size() == 0) continue;
      if (read.begin < range.end && range.begin < read.end) {
        fail(ErrorKind::input,
             "what it says about itself in bytes {} to {} lies where results are written; the file "
             "is damaged",
             read.begin, read.end - 1);
      }
    }
  }
}

}  // namespace mechsweep
