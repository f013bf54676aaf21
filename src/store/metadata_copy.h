#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/group.h"
#include "store/posix_file.h"

namespace mechsweep {

/// Writes STEM.meta for `results_path`: pieces of all bytes of `file` (its temporary name while it
/// is being made) outside `raw`, each with its CRC-32C and, where it is not all zeros, a copy.
/// `raw` is sorted. Synced and renamed into place. Throws Error{resource}.
void write_metadata_copy(const std::string& file, const std::string& results_path,
                         const std::vector<Range>& raw);

/// What a comparison with STEM.meta found.
struct MetadataCheck {
  bool has_copy = false;            ///< false: no STEM.meta, so nothing was compared
  bool copy_is_damaged = false;     ///< STEM.meta itself; then nothing was compared either
  std::vector<std::string> damage;  ///< one sentence each
};
/// Compares the metadata of a results file with STEM.meta, without HDF5. Damage is also a STEM.meta
/// that is damaged itself, and a file shorter than it was. Throws Error{input} when the results
/// file cannot be read.
MetadataCheck check_metadata(const std::string& results_path);

/// A STEM.meta that was found whole.
class MetadataCopy {
 public:
  /// Empty when there is none at `path` or it is damaged.
  static std::optional<MetadataCopy> load(const std::string& path);

  /// A piece of the results file outside raw data.
  struct Piece {
    uint64_t offset = 0;
    uint64_t length = 0;
    uint32_t crc = 0;
    uint32_t stored = 0;  ///< 1 when the bytes follow; all-zero pieces (gaps of alignment) do not
  };

  [[nodiscard]] int64_t file_bytes() const { return file_bytes_; }
  [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }
  /// Bytes of piece `number` as they were written.
  [[nodiscard]] std::vector<uint8_t> bytes(size_t number) const;
  /// Where `file` differs: from the first to the last such byte of each piece.
  [[nodiscard]] std::vector<Range> differences(const FileDescriptor& file,
                                               const std::string& path) const;
  /// Gives `file` the size and the metadata that it was made with; returns the number of bytes that
  /// were different, a byte that is added or cut off counting as one. Not synced. Throws
  /// Error{resource}.
  int64_t write_back(const FileDescriptor& file, const std::string& path) const;

 private:
  std::string path_;
  FileDescriptor file_;
  int64_t file_bytes_ = 0;
  std::vector<Piece> pieces_;
  std::vector<int64_t> stored_at_;  ///< in STEM.meta, by piece; -1: zeros
};

}  // namespace mechsweep
