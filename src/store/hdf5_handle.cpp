#include "store/hdf5_handle.h"

#include <cerrno>
#include <system_error>
#include <utility>

namespace mechsweep {

void start_hdf5() {
  static std::once_flag once;
  std::call_once(once, [] {
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5PLset_loading_state(0);
  });
}

std::recursive_mutex& hdf5_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

namespace {

herr_t keep_first(unsigned n, const H5E_error2_t* entry, void* out) {
  if (n == 0 && entry->desc != nullptr) *static_cast<std::string*>(out) = entry->desc;
  return 0;
}

}  // namespace

std::string hdf5_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
  H5Eclear2(H5E_DEFAULT);
  static const std::string kMark = "error message = '";
  const size_t at = reason.find(kMark);
  if (at != std::string::npos) {
    const size_t begin = at + kMark.size();
    reason = reason.substr(begin, reason.find('\'', begin) - begin);
  }
  return reason.empty() ? "HDF5 gives no reason" : reason;
}

bool is_interruption(const Error& error) {
  return error.message().find(std::generic_category().message(EINTR)) != std::string::npos;
}

Error advised(const Error& error) {
  if (error.message().find(" again") != std::string::npos) return error;
  return {error.kind(), error.message() + "; mend the cause and start the same command again",
          error.context()};
}

Hdf5Handle::~Hdf5Handle() {
  if (!close()) H5Eclear2(H5E_DEFAULT);
}

Hdf5Handle::Hdf5Handle(Hdf5Handle&& other) noexcept
    : id_(std::exchange(other.id_, -1)), closer_(other.closer_) {}

Hdf5Handle& Hdf5Handle::operator=(Hdf5Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(closer_, other.closer_);
  return *this;
}

bool Hdf5Handle::close() {
  if (id_ < 0) return true;
  return closer_(std::exchange(id_, -1)) >= 0;
}

hid_t Hdf5Handle::release() {
  return std::exchange(id_, -1);
}

Hdf5Handle own(hid_t id, Hdf5Handle::Closer closer, ErrorKind kind, const std::string& what) {
  check_hdf5(id, kind, what);
  return {id, closer};
}

void check_hdf5(int64_t status, ErrorKind kind, const std::string& what) {
  if (status < 0) fail(kind, "{}: {}", what, hdf5_reason());
}

Hdf5Handle make_file_access() {
  start_hdf5();
  Hdf5Handle access = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, ErrorKind::internal, "HDF5");
  H5Pset_fapl_sec2(access.get());
  H5Pset_sieve_buf_size(access.get(), 0);
  H5Pset_file_locking(access.get(), /*use_file_locking=*/false, /*ignore_when_disabled=*/true);
  // The oldest format: its superblock has no marks that opening or closing would change.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST);
  return access;
}

}  // namespace mechsweep
