#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint_files.h"

namespace mechsweep::test_files {

// Numbers of the format's value types and tensor types.
enum Value : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kArray,
  kU64,
  kI64,
  kF64
};
enum Type : uint32_t {
  kTypeF32 = 0,
  kTypeF16 = 1,
  kTypeQ4_0 = 2,
  kTypeQ8_0 = 8,
  kTypeQ4K = 12,
  kTypeIq4Xs = 23,
  kTypeBf16 = 30,
  kTypeMxfp4 = 39,
};

struct TensorSpec {
  std::string name;
  std::vector<uint64_t> dimensions;  // innermost first, as in the file
  uint32_t type = kTypeF32;
  uint64_t offset = 0;
};

/// A GGUF file in pieces, so that a test can spoil any of them.
struct GgufSpec {
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t extra_tensors = 0;  // added to the true counts
  uint64_t extra_entries = 0;
  std::vector<std::string> entries;
  std::vector<TensorSpec> tensors;
  std::string data;
  size_t alignment = 32;

  template <typename T>
  void entry(std::string_view key, uint32_t type, T value) {
    entries.push_back(Bytes().text(key).put(type).put(value).data());
  }
  void entry_raw(std::string_view key, uint32_t type, const Bytes& value) {
    entries.push_back(Bytes().text(key).put(type).raw(value.data()).data());
  }

  /// Everything before the data.
  [[nodiscard]] Bytes header() const {
    Bytes out;
    out.raw(magic).put(version);
    out.put<uint64_t>(tensors.size() + extra_tensors).put<uint64_t>(entries.size() + extra_entries);
    for (const std::string& entry_bytes : entries) out.raw(entry_bytes);
    for (const TensorSpec& tensor : tensors) {
      out.text(tensor.name).put(static_cast<uint32_t>(tensor.dimensions.size()));
      for (const uint64_t extent : tensor.dimensions) out.put(extent);
      out.put(tensor.type).put(tensor.offset);
    }
    return out;
  }
  [[nodiscard]] std::string bytes() const { return header().pad_to(alignment).raw(data).data(); }
};

/// A small file that is right: a matrix of 2 rows of 3, and two Q8_0 blocks in a vector.
inline GgufSpec small_file() {
  GgufSpec spec;
  spec.entry_raw("general.architecture", kText, Bytes().text("llama"));
  spec.entry<uint32_t>("llama.block_count", kU32, 2);
  spec.entry_raw("tokenizer.ggml.tokens", kArray,
                 Bytes().put<uint32_t>(kText).put<uint64_t>(2).text("a").text("bc"));
  spec.tensors = {{"a.weight", {3, 2}, kTypeF32, 0}, {"b.weight", {64}, kTypeQ8_0, 32}};
  Bytes data;
  for (int i = 0; i < 6; ++i) data.put(static_cast<float>(i));
  data.pad_to(32);
  for (int block = 0; block < 2; ++block) {
    data.put<uint16_t>(0x3c00);  // scale 1
    for (int i = 0; i < 32; ++i) data.put(static_cast<int8_t>(32 * block + i));
  }
  spec.data = data.data();
  return spec;
}

/// Writes such files to a temporary folder and opens them.
class Gguf : public ::testing::Test {
 protected:
  GgufFile open(const GgufSpec& spec) { return open_gguf(folder_.write("x.gguf", spec.bytes())); }
  void expect_refused(const GgufSpec& spec, const std::string& part) {
    expect_input_error([&] { open(spec); }, part);
  }
  TempFolder folder_;
};

}  // namespace mechsweep::test_files
