#include "store/metadata_copy.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <string_view>

#include "core/error.h"
#include "core/hash.h"
#include "store/lock.h"
#include "store/posix_file.h"

namespace mechsweep {
namespace {

// STEM.meta, little-endian: kMagic, size of the results file and number of pieces (uint64 each),
// the pieces, the stored copies in their order, CRC-32C of all of that.
constexpr std::string_view kMagic = "mechsweep-meta1\n";
constexpr int64_t kPieceBytes = 65536;  // small enough to say where damage is

struct Piece {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint32_t crc = 0;
  uint32_t stored = 0;  ///< 1 when the bytes follow; all-zero pieces (gaps of alignment) do not
};
static_assert(sizeof(Piece) == 24);

struct Header {
  uint64_t file_bytes = 0;
  uint64_t pieces = 0;
};

template <typename T>
void append(std::vector<uint8_t>& out, const T& value) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

/// The ranges between the raw ones.
std::vector<Range> complement(const std::vector<Range>& raw, int64_t size) {
  std::vector<Range> out;
  int64_t at = 0;
  for (const Range& range : raw) {
    if (range.begin > at) out.push_back({at, range.begin});
    at = std::max(at, range.end);
  }
  if (at < size) out.push_back({at, size});
  return out;
}

bool is_zero(const std::vector<uint8_t>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

std::vector<uint8_t> make_copy(const std::string& path, const std::vector<Range>& raw) {
  const FileDescriptor file = open_file(path, O_RDONLY, ErrorKind::resource);
  const int64_t size = file_size(file, path);
  std::vector<Piece> pieces;
  std::vector<uint8_t> copies;
  for (const Range& range : complement(raw, size)) {
    for (int64_t at = range.begin; at < range.end; at += kPieceBytes) {
      const int64_t length = std::min(kPieceBytes, range.end - at);
      const auto bytes = read_at(file, at, length, path);
      const bool stored = !is_zero(bytes);
      pieces.push_back({static_cast<uint64_t>(at), static_cast<uint64_t>(length), crc32c(bytes),
                        stored ? 1U : 0U});
      if (stored) copies.insert(copies.end(), bytes.begin(), bytes.end());
    }
  }
  std::vector<uint8_t> out(kMagic.begin(), kMagic.end());
  append(out, Header{static_cast<uint64_t>(size), pieces.size()});
  for (const Piece& piece : pieces) append(out, piece);
  out.insert(out.end(), copies.begin(), copies.end());
  append(out, crc32c(out));
  return out;
}

/// The table of a STEM.meta; false when the bytes are not a whole one.
bool parse_copy(std::span<const uint8_t> bytes, Header& header, std::vector<Piece>& pieces) {
  constexpr size_t kTableAt = kMagic.size() + sizeof(Header);
  if (bytes.size() < kTableAt + 4 ||
      !std::equal(kMagic.begin(), kMagic.end(), bytes.begin(),
                  [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; })) {
    return false;
  }
  uint32_t crc = 0;
  std::memcpy(&crc, bytes.data() + bytes.size() - 4, 4);
  if (crc32c(bytes.first(bytes.size() - 4)) != crc) return false;
  std::memcpy(&header, bytes.data() + kMagic.size(), sizeof(Header));
  if (header.pieces > (bytes.size() - kTableAt) / sizeof(Piece)) return false;
  pieces.resize(header.pieces);
  std::memcpy(pieces.data(), bytes.data() + kTableAt, header.pieces * sizeof(Piece));
  return true;
}

}  // namespace

void write_metadata_copy(const std::string& file, const std::string& results_path,
                         const std::vector<Range>& raw) {
  const std::string path = companion_path(results_path, ".meta");
  const std::string temporary = path + ".tmp";
  try {
    const auto bytes = make_copy(file, raw);
    const FileDescriptor out =
        open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, ErrorKind::resource);
    write_at(out, 0, bytes, temporary);
    sync_file(out, temporary);
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
      fail(ErrorKind::resource, "{} cannot be renamed to {}: {}", temporary, path,
           errno_text(errno));
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

MetadataCheck check_metadata(const std::string& results_path) {
  const FileDescriptor file = open_file(results_path, O_RDONLY, ErrorKind::input);
  const int64_t size = file_size(file, results_path);
  const std::string path = companion_path(results_path, ".meta");
  MetadataCheck check;
  if (::access(path.c_str(), F_OK) != 0) return check;
  check.has_copy = true;
  const FileDescriptor copy = open_file(path, O_RDONLY, ErrorKind::input);
  const auto bytes = read_at(copy, 0, file_size(copy, path), path);
  Header header;
  std::vector<Piece> pieces;
  if (!parse_copy(bytes, header, pieces)) {
    check.damage.push_back(path + " is damaged, so the metadata of the results cannot be checked");
    return check;
  }
  if (static_cast<uint64_t>(size) != header.file_bytes) {
    check.damage.push_back(
        fmt::format("{} has {} bytes but was made with {}", results_path, size, header.file_bytes));
  }
  for (const Piece& piece : pieces) {
    const auto now = read_at(file, static_cast<int64_t>(piece.offset),
                             static_cast<int64_t>(piece.length), results_path);
    if (now.size() != piece.length || crc32c(now) != piece.crc) {
      check.damage.push_back(fmt::format(
          "metadata in bytes {} to {} of {} are not what was written; {} has a copy of them",
          piece.offset, piece.offset + piece.length, results_path, path));
    }
  }
  return check;
}

}  // namespace mechsweep
