#pragma once

#include <memory>
#include <string>
#include <utility>

#include "store/posix_file.h"

namespace mechsweep {

/// STEM.lock beside a results file: made by the starter, with job, host, pid, boot id and start
/// time in it; every rank holds a shared flock on it for as long as it runs. A second run is
/// refused within seconds and told who owns it; the lock of a dead owner (flock free, and on this
/// host its process gone) is taken over in place. The lock is advisory and lies beside the results,
/// because a flock on the results themselves would block h5py readers.
class FileLock {
 public:
  /// One rank per sweep: takes the lock and holds it like the constructor does. Throws
  /// Error{resource} naming the owner when it is held, or when the folder cannot be written.
  [[nodiscard]] static std::unique_ptr<FileLock> acquire(const std::string& results_path);
  /// Every other rank, after acquire: holds a shared flock until destroyed. Throws Error{resource}.
  explicit FileLock(const std::string& results_path);
  /// One rank, at the end, when it is done: removes the file.
  static void release(const std::string& results_path);

 private:
  explicit FileLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

/// "results/a.h5" -> "results/a" + suffix (".lock", ".meta", ".stop", ".summary.h5"). A name that
/// does not end in .h5 is its own STEM.
std::string companion_path(const std::string& results_path, const std::string& suffix);

}  // namespace mechsweep
