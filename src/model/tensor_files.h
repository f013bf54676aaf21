#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/tensor_source.h"

// What the two checkpoint formats share: a file read at offsets, checks of a layout, and a
// TensorSource over tensors whose places are known.

namespace mechsweep {

/// Text that came from a file, made fit for a message: quoted, control bytes replaced, cut when
/// long.
std::string printable(std::string_view text);

/// The product, or nothing when it does not fit.
std::optional<uint64_t> checked_product(uint64_t a, uint64_t b);
/// The sum, or nothing when it does not fit.
std::optional<uint64_t> checked_sum(uint64_t a, uint64_t b);

/// The number of values of a shape, or nothing when it (counting zero dimensions as one) does not
/// fit int64.
std::optional<int64_t> checked_values(const std::vector<int64_t>& shape);

/// A regular file opened for reading at offsets. Every error names the path.
class InputFile {
 public:
  /// Throws Error{input} when it is missing, no regular file, or may not be read.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }

  /// Reads exactly out.size() bytes at `offset`; `subject` says in messages what they are. Throws
  /// Error{input} when the file ends before. Safe to call from several threads at once.
  void read_at(uint64_t offset, std::span<uint8_t> out, std::string_view subject) const;
  /// Asks the system to fetch these bytes in the background; it need not.
  void fetch_ahead(uint64_t offset, uint64_t count) const;
  /// Throws Error{input} that something needs more bytes than the file has.
  [[noreturn]] void refuse_truncated(std::string_view subject, uint64_t needed_bytes,
                                     uint64_t offset) const;
  /// Throws Error{input} with a message about this file.
  [[noreturn]] void refuse(std::string message) const;
  /// Throws Error{input} when the file is the small text that Git LFS leaves in place of one.
  void refuse_lfs_pointer() const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_bytes_ = 0;
};

/// A tensor and the bytes of a file, counted from the file's start, that hold it.
struct StoredTensor {
  TensorInfo info;
  size_t file = 0;  ///< index of its InputFile
  uint64_t offset = 0;
};

/// Bytes [begin, end) of a file that a tensor claims.
struct Extent {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::string name;
};

/// Sorts extents by place and throws Error{input} when two of them share a byte.
void check_no_overlap(const InputFile& file, std::vector<Extent>& extents);

/// The tensors of one or more open files. The caller has checked that every tensor lies inside its
/// file and that its number of values fits int64.
class FileTensorSource final : public TensorSource {
 public:
  /// `unreadable` maps names of tensors that are there but of a type we do not read to that type.
  /// `extra_files` (an index) are listed first by files().
  FileTensorSource(std::vector<InputFile> inputs, std::vector<StoredTensor> tensors,
                   std::map<std::string, std::string> unreadable = {},
                   std::vector<std::string> extra_files = {});

  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override { return infos_; }
  [[nodiscard]] const TensorInfo* find(const std::string& name) const override;
  [[nodiscard]] const TensorInfo& require(const std::string& name) const override;
  void read_rows(const std::string& name, int64_t row_begin, int64_t row_end,
                 float* out) const override;
  void read_columns(const std::string& name, Range rows, Range columns, float* out) const override;
  void expect_reading(const std::string& name) const override;
  [[nodiscard]] std::vector<std::string> files() const override;

 private:
  struct Place {
    size_t file;
    uint64_t offset;
  };
  [[nodiscard]] const Place& place_of(const TensorInfo& info) const {
    return places_[static_cast<size_t>(&info - infos_.data())];
  }
  void read_values(const TensorInfo& info, int64_t first, int64_t last, float* out) const;
  /// Reads the bytes of values [first, last), whole blocks, to `bytes`.
  void read_blocks(const TensorInfo& info, int64_t first, int64_t last, uint8_t* bytes) const;

  std::vector<InputFile> inputs_;
  std::vector<TensorInfo> infos_;
  std::vector<Place> places_;  // of infos_[i]
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, std::string> unreadable_;
  std::vector<std::string> extra_files_;
};

}  // namespace mechsweep
