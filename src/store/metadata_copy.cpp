#include "store/metadata_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <string_view>

#include "core/error.h"
#include "core/hash.h"
#include "store/lock.h"

namespace mechsweep {
namespace {

// STEM.meta, little-endian: kMagic, size of the results file and number of pieces (uint64 each),
// the pieces, the stored copies in their order, CRC-32C of all of that.
constexpr std::string_view kMagic = "mechsweep-meta1\n";
constexpr int64_t kPieceBytes = 65536;  // small enough to say where damage is
constexpr int64_t kLargestFile = int64_t{1} << 60;
constexpr size_t kDamagesNamed = 20;

using Piece = MetadataCopy::Piece;
static_assert(sizeof(Piece) == 24);

struct Header {
  std::array<char, 16> magic{};
  uint64_t file_bytes = 0;
  uint64_t pieces = 0;
};
static_assert(sizeof(Header) == 32);

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
  const FileDescriptor file = open_regular(path, O_RDONLY, ErrorKind::resource);
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
  Header header{.file_bytes = static_cast<uint64_t>(size), .pieces = pieces.size()};
  std::copy(kMagic.begin(), kMagic.end(), header.magic.begin());
  std::vector<uint8_t> out;
  append(out, header);
  for (const Piece& piece : pieces) append(out, piece);
  out.insert(out.end(), copies.begin(), copies.end());
  append(out, crc32c(out));
  return out;
}

/// CRC-32C of the first `count` bytes, in parts: a planted file may be larger than memory.
uint32_t crc_of_file(const FileDescriptor& file, int64_t count, const std::string& path) {
  uint32_t crc = 0;
  for (int64_t at = 0; at < count; at += kPieceBytes) {
    crc = crc32c(read_at(file, at, std::min(kPieceBytes, count - at), path), crc);
  }
  return crc;
}

/// Whether pieces follow each other inside the file, and the copies fill the rest of STEM.meta.
bool place_copies(const std::vector<Piece>& pieces, uint64_t file_bytes, int64_t begin, int64_t end,
                  std::vector<int64_t>& stored_at) {
  uint64_t taken = 0;
  for (const Piece& piece : pieces) {
    if (piece.length == 0 || piece.length > static_cast<uint64_t>(kPieceBytes) ||
        piece.stored > 1 || piece.offset < taken || piece.offset > file_bytes - piece.length) {
      return false;
    }
    taken = piece.offset + piece.length;
    stored_at.push_back(piece.stored == 1 ? begin : -1);
    if (piece.stored == 1) begin += static_cast<int64_t>(piece.length);
  }
  return begin == end;
}

}  // namespace

void write_metadata_copy(const std::string& file, const std::string& results_path,
                         const std::vector<Range>& raw) {
  const std::string path = companion_path(results_path, ".meta");
  std::string temporary;
  try {
    const auto bytes = make_copy(file, raw);
    const FileDescriptor out = make_beside(path, temporary);
    write_at(out, 0, bytes, temporary);
    sync_file(out, temporary);
    rename_file(temporary, path);
  } catch (...) {
    if (!temporary.empty()) ::unlink(temporary.c_str());
    throw;
  }
}

std::optional<MetadataCopy> MetadataCopy::load(const std::string& path) {
  MetadataCopy copy;
  copy.path_ = path;
  try {
    copy.file_ = open_regular(path, O_RDONLY, ErrorKind::input);
    const int64_t size = file_size(copy.file_, path);
    const auto head = read_at(copy.file_, 0, sizeof(Header), path);
    if (head.size() < sizeof(Header) || size < static_cast<int64_t>(sizeof(Header)) + 4) return {};
    Header header;
    std::memcpy(&header, head.data(), sizeof(Header));
    const uint64_t room = (static_cast<uint64_t>(size) - sizeof(Header) - 4) / sizeof(Piece);
    if (!std::equal(kMagic.begin(), kMagic.end(), header.magic.begin()) || header.pieces > room ||
        header.file_bytes > static_cast<uint64_t>(kLargestFile)) {
      return {};
    }
    uint32_t crc = 0;
    const auto tail = read_at(copy.file_, size - 4, 4, path);
    if (tail.size() < 4) return {};
    std::memcpy(&crc, tail.data(), 4);
    if (crc_of_file(copy.file_, size - 4, path) != crc) return {};
    const auto table_bytes = static_cast<int64_t>(header.pieces * sizeof(Piece));
    const auto table = read_at(copy.file_, sizeof(Header), table_bytes, path);
    copy.pieces_.resize(header.pieces);
    std::memcpy(copy.pieces_.data(), table.data(), table.size());
    copy.file_bytes_ = static_cast<int64_t>(header.file_bytes);
    const auto begin = static_cast<int64_t>(sizeof(Header)) + table_bytes;
    if (!place_copies(copy.pieces_, header.file_bytes, begin, size - 4, copy.stored_at_)) return {};
  } catch (const Error&) {
    return {};
  }
  return copy;
}

std::vector<uint8_t> MetadataCopy::bytes(size_t number) const {
  const auto length = static_cast<int64_t>(pieces_[number].length);
  if (stored_at_[number] < 0) return std::vector<uint8_t>(static_cast<size_t>(length), 0);
  return read_at(file_, stored_at_[number], length, path_);
}

std::vector<Range> MetadataCopy::differences(const FileDescriptor& file,
                                             const std::string& path) const {
  std::vector<Range> ranges;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    const auto offset = static_cast<int64_t>(piece.offset);
    auto now = read_at(file, offset, static_cast<int64_t>(piece.length), path);
    if (now.size() == piece.length && crc32c(now) == piece.crc) continue;
    const auto then = bytes(i);
    const auto first = std::mismatch(now.begin(), now.end(), then.begin(), then.end()).first;
    const int64_t begin = offset + (first - now.begin());
    int64_t end = offset + static_cast<int64_t>(piece.length);
    if (now.size() == then.size()) {
      end -= std::mismatch(now.rbegin(), now.rend(), then.rbegin()).first - now.rbegin();
    }
    ranges.push_back({begin, std::max(begin + 1, end)});
  }
  return ranges;
}

int64_t MetadataCopy::write_back(const FileDescriptor& file, const std::string& path) const {
  int64_t changed = std::abs(file_size(file, path) - file_bytes_);
  if (changed != 0) resize_file(file, file_bytes_, path);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const auto offset = static_cast<int64_t>(pieces_[i].offset);
    const auto now = read_at(file, offset, static_cast<int64_t>(pieces_[i].length), path);
    const auto then = bytes(i);
    if (now == then) continue;
    for (size_t at = 0; at < std::min(now.size(), then.size()); ++at) {
      changed += now[at] != then[at] ? 1 : 0;
    }
    write_at(file, offset, then, path);
  }
  return changed;
}

MetadataCheck check_metadata(const std::string& results_path) {
  const FileDescriptor file = open_regular(results_path, O_RDONLY, ErrorKind::input);
  const int64_t size = file_size(file, results_path);
  const std::string path = companion_path(results_path, ".meta");
  MetadataCheck check;
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return check;
  check.has_copy = true;
  const auto copy = MetadataCopy::load(path);
  if (!copy) {
    check.copy_is_damaged = true;
    check.damage.push_back(
        path +
        " is damaged or unreadable, so it cannot vouch for the metadata of the results; "
        "'mechsweep verify --restore' makes it anew");
    return check;
  }
  if (size != copy->file_bytes()) {
    check.damage.push_back(
        fmt::format("{} has {} bytes but was made with {}", results_path, size,
                    copy->file_bytes()) +
        fmt::format("; 'mechsweep verify --restore {}' puts that right", results_path));
  }
  const auto ranges = copy->differences(file, results_path);
  for (size_t i = 0; i < std::min(ranges.size(), kDamagesNamed); ++i) {
    check.damage.push_back(fmt::format(
        "metadata in bytes {} to {} of {} are not what was written; 'mechsweep verify --restore "
        "{}' writes them back from {}",
        ranges[i].begin, ranges[i].end - 1, results_path, results_path, path));
  }
  if (ranges.size() > kDamagesNamed) {
    check.damage.push_back(fmt::format("and in {} more places", ranges.size() - kDamagesNamed));
  }
  return check;
}

}  // namespace mechsweep
