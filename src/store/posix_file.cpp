#include "store/posix_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

namespace mechsweep {

namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr size_t kRandomLetters = 6;
constexpr std::string_view kTemporarySuffix = ".tmp";

/// "PATH cannot be WHAT: why; what to do", from errno.
[[noreturn]] void fail_system(ErrorKind kind, const std::string& path, std::string_view what) {
  const int error = errno;
  fail(kind, "{} cannot be {}: {}; {}", path, what, errno_text(error), remedy(error));
}

/// What the temporary names of `path` begin with.
std::string temporary_prefix(const std::string& path) {
  return "." + name_of(path) + ".";
}

bool is_temporary_of(const std::string& prefix, const std::string& name) {
  if (!name.starts_with(prefix) || !name.ends_with(kTemporarySuffix)) return false;
  if (name.size() != prefix.size() + kRandomLetters + kTemporarySuffix.size()) return false;
  return name.substr(prefix.size(), kRandomLetters).find_first_not_of(kLetters) ==
         std::string::npos;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

std::string errno_text(int error) {
  return std::generic_category().message(error);
}

std::string remedy(int error) {
  switch (error) {
    case ENOSPC:
      return "free some space there and start the same command again";
    case EDQUOT:
      return "free some space or have the quota raised, and start the same command again";
    case EFBIG:
      return "raise the limit on the size of files and start the same command again";
    case EMFILE:
    case ENFILE:
      return "raise the limit on open files and start the same command again";
    case EACCES:
    case EPERM:
    case EROFS:
      return "check the permissions, or give another place";
    case ENOENT:
    case ENOTDIR:
      return "check that it is there";
    default:
      return "check that disk and start the same command again";
  }
}

FileDescriptor open_file(const std::string& path, int flags, ErrorKind kind) {
  const int descriptor = retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0666); });
  if (descriptor < 0) fail_system(kind, path, "opened");
  return FileDescriptor(descriptor);
}

FileDescriptor open_regular(const std::string& path, int flags, ErrorKind kind) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  const int careful = O_NONBLOCK | O_NOCTTY | (writes ? O_NOFOLLOW : 0);
  const int descriptor =
      retried([&] { return ::open(path.c_str(), flags | careful | O_CLOEXEC, 0666); });
  if (descriptor < 0 && errno == ELOOP && writes) {
    fail(kind, "{} is a symbolic link, which is not written through; give the file itself", path);
  }
  if (descriptor < 0) fail_system(kind, path, "opened");
  FileDescriptor file(descriptor);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    fail(kind, "{} cannot be examined: {}", path, errno_text(errno));
  }
  if (!S_ISREG(status.st_mode)) fail(kind, "{} is not a regular file", path);
  if (writes && status.st_nlink > 1) {
    fail(kind, "{} has {} hard links, so writing to it would change a file elsewhere; copy it",
         path, status.st_nlink);
  }
  return file;
}

FileDescriptor make_beside(const std::string& path, std::string& temporary) {
  for (;;) {
    std::array<uint8_t, kRandomLetters> random{};
    ensure(::getrandom(random.data(), random.size(), 0) == std::ssize(random), "no random numbers");
    temporary = folder_of(path) + "/" + temporary_prefix(path);
    for (const uint8_t byte : random) temporary += kLetters[byte % kLetters.size()];
    temporary += kTemporarySuffix;
    const int made = retried(
        [&] { return ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
    if (made >= 0) return FileDescriptor(made);
    if (errno != EEXIST) {
      const int error = errno;
      fail(ErrorKind::resource, "{} cannot be written: no file can be made in {}: {}; {}", path,
           folder_of(path), errno_text(error), remedy(error));
    }
  }
}

void remove_left_overs(const std::string& path) {
  const std::string prefix = temporary_prefix(path);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(path), ignored)) {
    if (is_temporary_of(prefix, entry.path().filename().string())) {
      std::filesystem::remove(entry.path(), ignored);
    }
  }
}

void write_whole_file(const std::string& path, std::span<const uint8_t> bytes) {
  remove_left_overs(path);
  std::string temporary;
  const FileDescriptor file = make_beside(path, temporary);
  try {
    write_at(file, 0, bytes, temporary);
    sync_file(file, temporary);
    rename_file(temporary, path);
  } catch (const Error& error) {
    ::unlink(temporary.c_str());
    throw error.within(path);
  }
  sync_folder_of(path);
}

int64_t file_size(const FileDescriptor& file, const std::string& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail(ErrorKind::input, "{} cannot be examined: {}", path, errno_text(errno));
  }
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::input, "{} is not a regular file", path);
  return status.st_size;
}

std::vector<uint8_t> read_at(const FileDescriptor& file, int64_t offset, int64_t count,
                             const std::string& path) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = ::pread(file.get(), bytes.data() + filled, bytes.size() - filled,
                                offset + static_cast<int64_t>(filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ErrorKind::input, "{} cannot be read: {}", path, errno_text(errno));
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

void write_at(const FileDescriptor& file, int64_t offset, std::span<const uint8_t> bytes,
              const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(file.get(), bytes.data(), bytes.size(), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_system(ErrorKind::resource, path, "written");
    offset += put;
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void sync_file(const FileDescriptor& file, const std::string& path) {
  if (retried([&] { return ::fsync(file.get()); }) != 0) {
    fail_system(ErrorKind::resource, path, "synced to disk");
  }
}

void sync_data(const FileDescriptor& file, const std::string& path) {
  if (retried([&] { return ::fdatasync(file.get()); }) != 0) {
    fail_system(ErrorKind::resource, path, "synced to disk");
  }
}

void resize_file(const FileDescriptor& file, int64_t size, const std::string& path) {
  if (retried([&] { return ::ftruncate(file.get(), size); }) != 0) {
    fail_system(ErrorKind::resource, path, "given its size");
  }
}

void rename_file(const std::string& from, const std::string& to) {
  if (retried([&] { return std::rename(from.c_str(), to.c_str()); }) != 0) {
    fail_system(ErrorKind::resource, from, "renamed to " + to);
  }
}

void remove_file(const std::string& path) {
  if (retried([&] { return ::unlink(path.c_str()); }) != 0 && errno != ENOENT) {
    fail_system(ErrorKind::resource, path, "removed");
  }
}

void sync_folder_of(const std::string& path) {
  const std::string folder = folder_of(path);
  const FileDescriptor file = open_file(folder, O_RDONLY | O_DIRECTORY, ErrorKind::resource);
  // Some file systems cannot sync a folder and say EINVAL; there is nothing better to do then.
  if (retried([&] { return ::fsync(file.get()); }) != 0 && errno != EINVAL) {
    fail_system(ErrorKind::resource, folder, "synced to disk");
  }
}

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string name_of(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

}  // namespace mechsweep
