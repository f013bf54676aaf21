#pragma once

#include <hdf5.h>

#include <mutex>
#include <string>

#include "core/error.h"

namespace mechsweep {

/// Starts the HDF5 library once: no exit handler (it would flush after an error), no printing of
/// error stacks, no plugins loaded from outside. Before MPI_Init if there is to be one: an HDF5
/// that is started later closes every open file inside MPI_Finalize, also after an I/O error.
void start_hdf5();

/// The library is not thread-safe; whoever calls it holds this.
std::recursive_mutex& hdf5_mutex();

/// What the innermost entry of HDF5's error stack says; clears the stack. The operating system's
/// words where there are any, such as "No space left on device".
std::string hdf5_reason();
/// Whether an Error with such a reason came from a system call that a signal interrupted: HDF5 does
/// not call open and ftruncate again.
bool is_interruption(const Error& error);
/// The same Error with what to do at its end, unless its message says so already.
Error advised(const Error& error);

/// Runs a step of one process that can be repeated, again while signals interrupt it.
template <typename Step>
auto again_if_interrupted(Step step) {
  constexpr int kTries = 20;
  for (int tries = 1;; ++tries) {
    try {
      return step();
    } catch (const Error& error) {
      if (tries == kTries || !is_interruption(error)) throw;
    }
  }
}

/// An HDF5 identifier that closes itself.
class Hdf5Handle {
 public:
  using Closer = herr_t (*)(hid_t);
  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  ~Hdf5Handle();
  Hdf5Handle(Hdf5Handle&& other) noexcept;
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept;
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;

  [[nodiscard]] hid_t get() const { return id_; }
  [[nodiscard]] bool is_open() const { return id_ >= 0; }
  /// Closes now and says whether that worked; a file's last data go out here.
  [[nodiscard]] bool close();
  /// Lets go without closing, for files after an I/O error.
  hid_t release();

 private:
  hid_t id_ = -1;
  Closer closer_ = nullptr;
};

/// Takes ownership of what an HDF5 call returned; throws Error{kind} "WHAT: reason" when it failed.
Hdf5Handle own(hid_t id, Hdf5Handle::Closer closer, ErrorKind kind, const std::string& what);
/// Throws Error{kind} "WHAT: reason" when an HDF5 call returned a negative status.
void check_hdf5(int64_t status, ErrorKind kind, const std::string& what);

/// Options for opening files: the plain driver without a sieve buffer and without locks (STEM.lock
/// is ours; HDF5's would keep other readers out), and the oldest format.
Hdf5Handle make_file_access();

}  // namespace mechsweep
