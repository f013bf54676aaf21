#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/tensor_files.h"

namespace mechsweep {

/// Reads the header of a GGUF file from front to back. Nothing is read, and no memory asked for,
/// before it is known that the file has that many bytes left; what is not there throws
/// Error{input}.
class GgufReader {
 public:
  explicit GgufReader(const InputFile& file) : file_(file) {}

  [[nodiscard]] const InputFile& file() const { return file_; }
  [[nodiscard]] uint64_t position() const { return position_; }
  [[nodiscard]] uint64_t remaining() const { return file_.size_bytes() - position_; }

  /// Names what is being read, for messages.
  void set_subject(std::string subject) { subject_ = std::move(subject); }
  [[nodiscard]] const std::string& subject() const { return subject_; }
  /// Throws Error{input} with the subject in front.
  [[noreturn]] void refuse(const std::string& message) const;

  /// Throws unless the file has room for `count` items of at least `item_bytes` bytes each.
  void expect_items(uint64_t count, uint64_t item_bytes) const;

  /// A little-endian number.
  template <typename T>
  T number() {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    T value{};
    read(reinterpret_cast<uint8_t*>(&value), sizeof value);
    return value;
  }
  /// A string: its length as uint64, then its bytes; longer than `longest` bytes is refused.
  std::string text(uint64_t longest);

 private:
  void read(uint8_t* out, uint64_t count);

  const InputFile& file_;
  uint64_t position_ = 0;
  std::string subject_ = "the header";
  std::vector<uint8_t> buffer_;  // bytes [buffer_begin_, buffer_begin_ + size) of the file
  uint64_t buffer_begin_ = 0;
};

}  // namespace mechsweep
