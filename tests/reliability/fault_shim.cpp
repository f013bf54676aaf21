// A library for LD_PRELOAD that sees every call which changes files below one folder, and makes a
// chosen one fail, come up short, kill the process or hang; or writes all of them to a trace. Tests
// only. tests/reliability/fault_tools.py drives it and reads the trace; it knows only what goes
// through these functions, so `io_faults.py --check-shim` compares a trace with strace's.
//
//   MECHSWEEP_FAULT_FOLDER  absolute; files elsewhere are left alone. Without it nothing happens.
//   MECHSWEEP_FAULT_RANK    only in the process with this OMPI_COMM_WORLD_RANK
//   MECHSWEEP_FAULT_KIND    open write sync rename truncate unlink close, or any
//   MECHSWEEP_FAULT_NTH     which call of that kind, from 1, in each process
//   MECHSWEEP_FAULT_ACTION  EIO ENOSPC EDQUOT EINTR short hang kill_before kill_after kill_within
//   MECHSWEEP_FAULT_REPEAT  once (default), onwards (a disk stays full), alternate (every other),
//                           random (by a coin that NTH chooses)
//   MECHSWEEP_FAULT_ALL     1: a kill takes the other ranks and mpirun with it
//   MECHSWEEP_FAULT_TRACE   file that records are appended to (struct Record of fault_watch.h)
#include "fault_watch.h"

namespace {

using namespace mechsweep::fault;

int open_as(const char* symbol, const char* path, int flags, mode_t mode) {
  const auto next = real<int (*)(const char*, int, mode_t)>(symbol);
  return static_cast<int>(
      on_path(kOpen, AT_FDCWD, path, flags, [&](size_t) { return next(path, flags, mode); }));
}

int open_at_as(const char* symbol, int folder, const char* path, int flags, mode_t mode) {
  const auto next = real<int (*)(int, const char*, int, mode_t)>(symbol);
  return static_cast<int>(
      on_path(kOpen, folder, path, flags, [&](size_t) { return next(folder, path, flags, mode); }));
}

/// The flags that fopen gives open, as far as they matter here.
int flags_of_mode(const char* mode) {
  const int access = std::strchr(mode, '+') != nullptr ? O_RDWR
                     : mode[0] == 'r'                  ? O_RDONLY
                                                       : O_WRONLY;
  return access | (mode[0] == 'w' ? O_CREAT | O_TRUNC : mode[0] == 'a' ? O_CREAT | O_APPEND : 0);
}

FILE* stream_as(const char* symbol, const char* path, const char* mode) {
  const auto next = real<FILE* (*)(const char*, const char*)>(symbol);
  FILE* file = nullptr;
  on_path(kOpen, AT_FDCWD, path, flags_of_mode(mode), [&](size_t) {
    file = next(path, mode);
    return int64_t{file == nullptr ? -1 : ::fileno(file)};
  });
  return file;
}

ssize_t write_as(const char* symbol, int descriptor, const void* data, size_t size, off_t offset) {
  const auto next = real<ssize_t (*)(int, const void*, size_t, off_t)>(symbol);
  return on_descriptor(kWrite, descriptor, offset, data, size,
                       [&](size_t part) { return int64_t{next(descriptor, data, part, offset)}; });
}

/// Where write(2) will put its bytes.
off_t place_of(int descriptor) {
  const int kept = errno;
  struct stat status {};
  const int flags = ::fcntl(descriptor, F_GETFL);
  const bool appends = flags >= 0 && (flags & O_APPEND) != 0 && ::fstat(descriptor, &status) == 0;
  const off_t place = appends ? status.st_size : ::lseek(descriptor, 0, SEEK_CUR);
  errno = kept;
  return place;
}

/// The pieces as one, so that they can be cut and recorded like any write.
std::string joined(const struct iovec* pieces, int count) {
  std::string all;
  for (int i = 0; i < count; ++i)
    all.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
  return all;
}

int size_as(const char* symbol, int descriptor, off_t size) {
  const auto next = real<int (*)(int, off_t)>(symbol);
  return static_cast<int>(on_descriptor(kTruncate, descriptor, size, nullptr, 0,
                                        [&](size_t) { return next(descriptor, size); }));
}

int sync_as(const char* symbol, int descriptor) {
  const auto next = real<int (*)(int)>(symbol);
  return static_cast<int>(
      on_descriptor(kSync, descriptor, 0, nullptr, 0, [&](size_t) { return next(descriptor); }));
}

template <typename Act>
int renamed(int from_folder, const char* from, int to_folder, const char* to, Act act) {
  std::string old_path = absolute(from_folder, from);
  std::string new_path = absolute(to_folder, to);
  if (!is_watched(old_path) && !is_watched(new_path)) return act();
  return static_cast<int>(watched({kRename, std::move(old_path), std::move(new_path)},
                                  [&](size_t) { return int64_t{act()}; }));
}

/// The mode argument is there only with these flags.
mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

extern "C" {

#pragma GCC visibility push(default)
#pragma GCC diagnostic ignored "-Wmissing-declarations"

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_as("open", path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_as("open64", path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at_as("openat", folder, path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at_as("openat64", folder, path, flags, mode);
}
int __open_2(const char* path, int flags) {
  return open_as("open", path, flags, 0);
}
int __open64_2(const char* path, int flags) {
  return open_as("open64", path, flags, 0);
}
int __openat_2(int folder, const char* path, int flags) {
  return open_at_as("openat", folder, path, flags, 0);
}
int __openat64_2(int folder, const char* path, int flags) {
  return open_at_as("openat64", folder, path, flags, 0);
}
int creat(const char* path, mode_t mode) {
  return open_as("open", path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char* path, mode_t mode) {
  return creat(path, mode);
}
FILE* fopen(const char* path, const char* mode) {
  return stream_as("fopen", path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  return stream_as("fopen64", path, mode);
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  return write_as("pwrite", descriptor, data, size, offset);
}
ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t offset) {
  return write_as("pwrite64", descriptor, data, size, offset);
}
ssize_t write(int descriptor, const void* data, size_t size) {
  static const auto next = real<ssize_t (*)(int, const void*, size_t)>("write");
  return on_descriptor(kWrite, descriptor, place_of(descriptor), data, size,
                       [&](size_t part) { return int64_t{next(descriptor, data, part)}; });
}
ssize_t writev(int descriptor, const struct iovec* pieces, int count) {
  static const auto next = real<ssize_t (*)(int, const struct iovec*, int)>("writev");
  if (!is_watched(path_of(descriptor))) return next(descriptor, pieces, count);
  const std::string all = joined(pieces, count);
  return write(descriptor, all.data(), all.size());
}
ssize_t pwritev(int descriptor, const struct iovec* pieces, int count, off_t offset) {
  static const auto next = real<ssize_t (*)(int, const struct iovec*, int, off_t)>("pwritev");
  if (!is_watched(path_of(descriptor))) return next(descriptor, pieces, count, offset);
  const std::string all = joined(pieces, count);
  return pwrite(descriptor, all.data(), all.size(), offset);
}
ssize_t pwritev64(int descriptor, const struct iovec* pieces, int count, off64_t offset) {
  return pwritev(descriptor, pieces, count, offset);
}

int fsync(int descriptor) {
  return sync_as("fsync", descriptor);
}
int fdatasync(int descriptor) {
  return sync_as("fdatasync", descriptor);
}
int sync_file_range(int descriptor, off64_t offset, off64_t size, unsigned int flags) {
  static const auto next = real<int (*)(int, off64_t, off64_t, unsigned)>("sync_file_range");
  return static_cast<int>(on_descriptor(kSync, descriptor, 0, nullptr, 0, [&](size_t) {
    return next(descriptor, offset, size, flags);
  }));
}

int ftruncate(int descriptor, off_t size) noexcept {
  return size_as("ftruncate", descriptor, size);
}
int ftruncate64(int descriptor, off64_t size) noexcept {
  return size_as("ftruncate64", descriptor, size);
}
int truncate(const char* path, off_t size) noexcept {
  static const auto next = real<int (*)(const char*, off_t)>("truncate");
  return static_cast<int>(
      on_path(kTruncate, AT_FDCWD, path, size, [&](size_t) { return next(path, size); }));
}
int truncate64(const char* path, off64_t size) noexcept {
  return truncate(path, size);
}
int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  static const auto next = real<int (*)(int, int, off_t, off_t)>("fallocate");
  return static_cast<int>(
      on_descriptor(kTruncate, descriptor, offset + size, nullptr, 0,
                    [&](size_t) { return next(descriptor, mode, offset, size); }));
}
int fallocate64(int descriptor, int mode, off64_t offset, off64_t size) {
  return fallocate(descriptor, mode, offset, size);
}
int posix_fallocate(int descriptor, off_t offset, off_t size) {
  static const auto next = real<int (*)(int, off_t, off_t)>("posix_fallocate");
  int error = 0;  // this one returns its error
  const auto act = [&](size_t) {
    error = next(descriptor, offset, size);
    return error == 0 ? 0 : -1;
  };
  const int64_t result = on_descriptor(kTruncate, descriptor, offset + size, nullptr, 0, act);
  return result == 0 ? 0 : error != 0 ? error : errno;
}
int posix_fallocate64(int descriptor, off64_t offset, off64_t size) {
  return posix_fallocate(descriptor, offset, size);
}

int rename(const char* from, const char* to) noexcept {
  static const auto next = real<int (*)(const char*, const char*)>("rename");
  return renamed(AT_FDCWD, from, AT_FDCWD, to, [&] { return next(from, to); });
}
int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  static const auto next = real<int (*)(int, const char*, int, const char*)>("renameat");
  return renamed(from_folder, from, to_folder, to,
                 [&] { return next(from_folder, from, to_folder, to); });
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned flags) noexcept {
  static const auto next = real<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
  return renamed(from_folder, from, to_folder, to,
                 [&] { return next(from_folder, from, to_folder, to, flags); });
}
int unlink(const char* path) noexcept {
  static const auto next = real<int (*)(const char*)>("unlink");
  return static_cast<int>(on_path(kUnlink, AT_FDCWD, path, 0, [&](size_t) { return next(path); }));
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  static const auto next = real<int (*)(int, const char*, int)>("unlinkat");
  return static_cast<int>(
      on_path(kUnlink, folder, path, 0, [&](size_t) { return next(folder, path, flags); }));
}
int rmdir(const char* path) noexcept {
  static const auto next = real<int (*)(const char*)>("rmdir");
  return static_cast<int>(on_path(kUnlink, AT_FDCWD, path, 0, [&](size_t) { return next(path); }));
}
int remove(const char* path) noexcept {
  static const auto next = real<int (*)(const char*)>("remove");
  return static_cast<int>(on_path(kUnlink, AT_FDCWD, path, 0, [&](size_t) { return next(path); }));
}

int close(int descriptor) {
  static const auto next = real<int (*)(int)>("close");
  return static_cast<int>(
      on_descriptor(kClose, descriptor, 0, nullptr, 0, [&](size_t) { return next(descriptor); }));
}
int fclose(FILE* file) {
  static const auto next = real<int (*)(FILE*)>("fclose");
  return static_cast<int>(
      on_descriptor(kClose, ::fileno(file), 0, nullptr, 0, [&](size_t) { return next(file); }));
}

#pragma GCC visibility pop
}
