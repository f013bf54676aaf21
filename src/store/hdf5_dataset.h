#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/file_layout.h"
#include "store/hdf5_handle.h"

namespace mechsweep {

/// The type of a dataset's elements in the file, which is also the one in memory.
Hdf5Handle make_element_type(const DatasetSpec& spec);

/// An open dataset whose elements are read as bytes, in contiguous pieces of its row-major order.
class Dataset {
 public:
  /// Opens and checks: contiguous layout inside the file (no chunks, no external storage, not
  /// virtual), all of it allocated, a type that we write. Throws Error{input} naming it.
  Dataset(hid_t file, const std::string& path);

  /// Path, type and shape; no scales, attributes or content.
  [[nodiscard]] const DatasetSpec& spec() const { return spec_; }
  [[nodiscard]] hid_t id() const { return dataset_.get(); }
  /// Where its raw data lie in the file, in bytes; empty when it has no elements.
  [[nodiscard]] Range extent() const { return extent_; }

  /// Elements [offset, offset + count). Throws Error{input}.
  [[nodiscard]] std::vector<uint8_t> read(int64_t offset, int64_t count) const;
  /// All elements as doubles. Throws Error{input}, also for text.
  [[nodiscard]] std::vector<double> read_doubles() const;

 private:
  void check_storage(hid_t file) const;

  DatasetSpec spec_;
  Hdf5Handle dataset_;
  Hdf5Handle type_;
  Hdf5Handle space_;
  Range extent_;
};

/// A box of a dataset: start and count per dimension.
struct Box {
  std::vector<hsize_t> start;
  std::vector<hsize_t> count;
};
/// Cuts elements [offset, offset + count) of a row-major array into boxes, in order; one box where
/// the piece is one. A scalar has no dimensions and gives no box.
std::vector<Box> boxes_of(const std::vector<int64_t>& shape, int64_t offset, int64_t count);

}  // namespace mechsweep
