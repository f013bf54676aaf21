#include "store/posix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

namespace mechsweep {

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

FileDescriptor open_file(const std::string& path, int flags, ErrorKind kind) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(kind, "{} cannot be opened: {}", path, errno_text(errno));
  return FileDescriptor(descriptor);
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
    if (put < 0) fail(ErrorKind::resource, "{} cannot be written: {}", path, errno_text(errno));
    offset += put;
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void sync_file(const FileDescriptor& file, const std::string& path) {
  if (::fsync(file.get()) != 0) {
    fail(ErrorKind::resource, "{} cannot be synced to disk: {}", path, errno_text(errno));
  }
}

void sync_folder_of(const std::string& path) {
  const std::string folder = folder_of(path);
  const FileDescriptor file = open_file(folder, O_RDONLY | O_DIRECTORY, ErrorKind::resource);
  // Some file systems cannot sync a folder and say EINVAL; there is nothing better to do then.
  if (::fsync(file.get()) != 0 && errno != EINVAL) {
    fail(ErrorKind::resource, "{} cannot be synced to disk: {}", folder, errno_text(errno));
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
