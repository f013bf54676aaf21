#pragma once

#include <cerrno>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace mechsweep {

/// A system call again for as long as signals interrupt it.
template <typename Call>
auto retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

/// A POSIX file descriptor that closes itself; -1 is none. Never inherited by child programs.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  [[nodiscard]] int get() const { return descriptor_; }
  [[nodiscard]] bool is_open() const { return descriptor_ >= 0; }

 private:
  int descriptor_ = -1;
};

/// open(2) with O_CLOEXEC; mode 0666 less the umask. Throws Error{kind} "PATH: cannot be opened:
/// why".
FileDescriptor open_file(const std::string& path, int flags, ErrorKind kind);
/// The same for a regular file of one name only where it is to be written (flags O_RDWR or
/// O_WRONLY): neither a FIFO, which would wait, nor a device, and when it is written neither a
/// symbolic link nor a hard link, by which somebody could make us write elsewhere.
FileDescriptor open_regular(const std::string& path, int flags, ErrorKind kind);
/// A new, empty file beside `path` under a name that nobody can foresee, `.NAME.XXXXXX.tmp`, and
/// that name. Throws Error{resource} when none can be made.
FileDescriptor make_beside(const std::string& path, std::string& temporary);
/// Removes what a writer that was killed has left of make_beside(path).
void remove_left_overs(const std::string& path);
/// Gives `path` these bytes, whole or not at all, also where the power fails: written beside it,
/// synced, renamed. Throws Error{resource} and leaves what was there.
void write_whole_file(const std::string& path, std::span<const uint8_t> bytes);
/// The text of errno for messages, such as "No space left on device".
std::string errno_text(int error);
/// What a user can do about it, to end such a message: "free some space there and start the same
/// command again".
std::string remedy(int error);
/// Size of an open file in bytes.
int64_t file_size(const FileDescriptor& file, const std::string& path);
/// Up to `count` bytes at `offset`; fewer where the file ends. Throws Error{input} when unreadable.
std::vector<uint8_t> read_at(const FileDescriptor& file, int64_t offset, int64_t count,
                             const std::string& path);
/// Writes all bytes at `offset`. Throws Error{resource}.
void write_at(const FileDescriptor& file, int64_t offset, std::span<const uint8_t> bytes,
              const std::string& path);
/// fsync, fdatasync, ftruncate; they and the next two throw Error{resource}.
void sync_file(const FileDescriptor& file, const std::string& path);
void sync_data(const FileDescriptor& file, const std::string& path);
void resize_file(const FileDescriptor& file, int64_t size, const std::string& path);
void rename_file(const std::string& from, const std::string& to);
/// A file that is not there is no error.
void remove_file(const std::string& path);
/// Makes a rename or a new name in the folder of `path` survive a power loss. Throws
/// Error{resource}.
void sync_folder_of(const std::string& path);
/// The folder of a path ("." when it names none) and its last part.
std::string folder_of(const std::string& path);
std::string name_of(const std::string& path);

}  // namespace mechsweep
