#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "core/error.h"
#include "model/tensor_source.h"

// Checkpoint files made byte by byte, and what tests expect of damaged ones.

namespace mechsweep::test_files {

/// A folder that is deleted at the end of its life.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mechsweep-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  [[nodiscard]] std::string path() const { return path_.string(); }
  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path path = path_ / name;
    // Some file systems flush a file that is cut and written again, which takes milliseconds.
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }

 private:
  std::filesystem::path path_;
};

/// Little-endian bytes, put together one value at a time.
class Bytes {
 public:
  template <typename T>
  Bytes& put(T value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    data_.append(raw, sizeof value);
    return *this;
  }
  Bytes& raw(std::string_view bytes) {
    data_.append(bytes);
    return *this;
  }
  /// A GGUF string: length, then bytes.
  Bytes& text(std::string_view bytes) { return put<uint64_t>(bytes.size()).raw(bytes); }
  Bytes& pad_to(size_t multiple) {
    data_.resize((data_.size() + multiple - 1) / multiple * multiple, '\0');
    return *this;
  }
  [[nodiscard]] size_t size() const { return data_.size(); }
  [[nodiscard]] const std::string& data() const { return data_; }

 private:
  std::string data_;
};

/// `action` must throw Error{input} whose text has `part`.
template <typename Action>
void expect_input_error(Action&& action, const std::string& part) {
  try {
    action();
    ADD_FAILURE() << "nothing was thrown; expected: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
  }
}

inline int64_t value_count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

/// All values of a tensor.
inline std::vector<float> read_all(const TensorSource& source, const std::string& name) {
  const TensorInfo& info = source.require(name);
  std::vector<float> values(static_cast<size_t>(value_count(info.shape)));
  source.read_rows(name, 0, info.shape.empty() ? 1 : info.shape.front(), values.data());
  return values;
}

/// Opens and reads everything; damage may be refused as Error{input} (returns false), but nothing
/// else may come out: any other exception ends the test.
template <typename Open>
bool opens_or_refuses(Open&& open) {
  try {
    const std::unique_ptr<TensorSource> source = open();
    for (const TensorInfo& tensor : source->tensors()) read_all(*source, tensor.name);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    return false;
  }
}

}  // namespace mechsweep::test_files
