#include "store/file_head.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "store/posix_file.h"

namespace mechsweep {
namespace {

// HDF5 File Format Specification 3.0, II.A: the superblock, version 0.
constexpr std::array<uint8_t, 8> kSignature{0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
constexpr size_t kVersionAt = 8;
constexpr size_t kOffsetSizeAt = 13;
constexpr size_t kLengthSizeAt = 14;
constexpr size_t kBaseAt = 24;
constexpr size_t kEndOfFileAt = 40;
constexpr size_t kDriverInfoAt = 48;

int64_t number_at(const std::vector<uint8_t>& head, size_t at) {
  int64_t number = 0;
  std::memcpy(&number, head.data() + at, sizeof(number));
  return number;
}

}  // namespace

int64_t check_file_head(const std::string& path) {
  const FileDescriptor file = open_regular(path, O_RDONLY, ErrorKind::input);
  const int64_t size = file_size(file, path);
  const auto head = read_at(file, 0, kSuperblockBytes, path);
  if (head.size() < kSignature.size() ||
      !std::equal(kSignature.begin(), kSignature.end(), head.begin())) {
    fail(ErrorKind::input, "{} is not an HDF5 file", path);
  }
  if (std::ssize(head) < kSuperblockBytes) {
    fail(ErrorKind::input, "{} is cut off after {} bytes", path, size);
  }
  if (head[kVersionAt] != 0 || head[kOffsetSizeAt] != 8 || head[kLengthSizeAt] != 8) {
    fail(ErrorKind::input, "{} is an HDF5 file, but not one that mechsweep made", path);
  }
  if (head[kOpenMarkAt] > 1) {
    fail(ErrorKind::input, "{} is damaged in byte {}, which must be 0 or 1", path, kOpenMarkAt);
  }
  // Neither an offset of everything nor another driver's idea of where the data are.
  if (number_at(head, kBaseAt) != 0 || number_at(head, kDriverInfoAt) != -1) {
    fail(ErrorKind::input, "{} is damaged in its first {} bytes", path, kSuperblockBytes);
  }
  const int64_t end = number_at(head, kEndOfFileAt);
  if (end < kSuperblockBytes || size < end) {
    fail(ErrorKind::input, "{} is cut off or damaged: it has {} bytes and should have {}", path,
         size, end);
  }
  return end;
}

}  // namespace mechsweep
