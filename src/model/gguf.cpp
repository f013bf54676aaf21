#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "model/gguf_reader.h"
#include "model/storage_format.h"
#include "model/tensor_files.h"

// The format: ggml, docs/gguf.md. Header, key-value metadata, tensor descriptions, then, from the
// next multiple of general.alignment on, the tensors' bytes.

namespace mechsweep {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF" as the file's bytes
constexpr uint64_t kLongestName = 65535;
constexpr uint64_t kLongestText = uint64_t{1} << 26;
constexpr uint64_t kMostArrayItems = uint64_t{1} << 24;  // of a whole file; real ones have 1e6
constexpr int kDeepestArray = 4;
constexpr uint32_t kMostDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kLargestAlignment = uint64_t{1} << 30;
// The least a metadata entry (name, type, value) and a tensor description take in the file.
constexpr uint64_t kLeastEntryBytes = 8 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;
constexpr size_t kReserveAtMost = 65536;

/// Metadata value types, numbered as in the format.
enum class ValueType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64,
};

uint64_t least_bytes(GgufReader& reader, uint32_t type) {
  static constexpr uint64_t kLeast[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  if (type >= std::size(kLeast)) {
    reader.refuse(
        fmt::format("has the unknown value type {}; the header is damaged or newer than "
                    "this build, fetch the file again",
                    type));
  }
  return kLeast[type];
}

class MetadataReader {
 public:
  explicit MetadataReader(GgufReader& reader) : reader_(reader) {}

  Json value(uint32_t type, int depth) {
    least_bytes(reader_, type);
    switch (static_cast<ValueType>(type)) {
      case ValueType::u8:
        return reader_.number<uint8_t>();
      case ValueType::i8:
        return reader_.number<int8_t>();
      case ValueType::u16:
        return reader_.number<uint16_t>();
      case ValueType::i16:
        return reader_.number<int16_t>();
      case ValueType::u32:
        return reader_.number<uint32_t>();
      case ValueType::i32:
        return reader_.number<int32_t>();
      case ValueType::f32:
        return reader_.number<float>();
      case ValueType::boolean:
        return boolean();
      case ValueType::string:
        return reader_.text(kLongestText);
      case ValueType::array:
        return array(depth + 1);
      case ValueType::u64:
        return reader_.number<uint64_t>();
      case ValueType::i64:
        return reader_.number<int64_t>();
      case ValueType::f64:
        return reader_.number<double>();
    }
    return nullptr;
  }

 private:
  bool boolean() {
    const auto byte = reader_.number<uint8_t>();
    if (byte > 1) {
      reader_.refuse(
          fmt::format("holds {} where a boolean is 0 or 1; the header is damaged, fetch "
                      "the file again",
                      byte));
    }
    return byte == 1;
  }

  Json array(int depth) {
    if (depth > kDeepestArray) {
      reader_.refuse(
          fmt::format("nests arrays deeper than {}; the header is damaged, fetch the "
                      "file again",
                      kDeepestArray));
    }
    const auto type = reader_.number<uint32_t>();
    const auto count = reader_.number<uint64_t>();
    reader_.expect_items(count, least_bytes(reader_, type));
    if (count > kMostArrayItems - items_) {
      reader_.refuse(
          fmt::format("brings the array items of the metadata above {}, more than any "
                      "model needs; the header is damaged, fetch the file again",
                      kMostArrayItems));
    }
    items_ += count;
    Json out = Json::array();
    auto& items = out.get_ref<Json::array_t&>();
    items.reserve(std::min(static_cast<size_t>(count), kReserveAtMost));
    for (uint64_t i = 0; i < count; ++i) items.push_back(value(type, depth));
    return out;
  }

  GgufReader& reader_;
  uint64_t items_ = 0;
};

struct Counts {
  uint64_t tensors = 0;
  uint64_t entries = 0;
};

Counts read_counts(GgufReader& reader) {
  if (reader.number<uint32_t>() != kMagic) {
    reader.file().refuse_lfs_pointer();
    reader.file().refuse(
        "this is not a GGUF file (it does not begin with 'GGUF'); name a .gguf "
        "file, or a folder for safetensors");
  }
  const auto version = reader.number<uint32_t>();
  if (version != 2 && version != 3) {
    const bool swapped = (version & 0xffffU) == 0 && version != 0;
    reader.file().refuse(
        swapped ? std::string("this GGUF file is big-endian, and this build reads little-endian "
                              "ones; convert it with gguf-convert-endian")
                : fmt::format("this is GGUF version {}, and this build reads versions 2 and 3; "
                              "convert the model again with a current converter",
                              version));
  }
  Counts counts;
  counts.tensors = reader.number<uint64_t>();
  counts.entries = reader.number<uint64_t>();
  reader.set_subject("the list of tensors");
  reader.expect_items(counts.tensors, kLeastTensorBytes);
  reader.set_subject("the metadata");
  reader.expect_items(counts.entries, kLeastEntryBytes);
  return counts;
}

Json read_metadata(GgufReader& reader, uint64_t entries) {
  MetadataReader values(reader);
  Json metadata = Json::object();
  for (uint64_t i = 0; i < entries; ++i) {
    reader.set_subject(fmt::format("the key of metadata entry {}", i));
    std::string key = reader.text(kLongestName);
    if (key.empty()) reader.refuse("is empty; the header is damaged, fetch the file again");
    reader.set_subject("metadata " + printable(key));
    if (metadata.contains(key)) {
      reader.refuse("is there twice; the header is damaged, fetch the file again");
    }
    const auto type = reader.number<uint32_t>();
    metadata[std::move(key)] = values.value(type, 0);
  }
  return metadata;
}

uint64_t alignment_of(const InputFile& file, const Json& metadata) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return kDefaultAlignment;
  const bool whole = found->is_number_integer() && *found > 0;
  const uint64_t alignment = whole ? found->get<uint64_t>() : 0;
  if (!std::has_single_bit(alignment) || alignment > kLargestAlignment) {
    file.refuse(
        "metadata 'general.alignment' is not a power of two up to 2^30; the header is "
        "damaged, fetch the file again");
  }
  return alignment;
}

void refuse_split(const InputFile& file, const Json& metadata) {
  const auto found = metadata.find("split.count");
  if (found == metadata.end() || !found->is_number_integer() || *found <= 1) return;
  file.refuse(
      fmt::format("this is one of {} parts of a split GGUF; join them with "
                  "'llama-gguf-split --merge' and name the result",
                  found->dump()));
}

/// What the format calls a tensor type, for messages.
std::string ggml_type_name(uint32_t type) {
  static constexpr const char* kNames[] = {
      "F32",     "F16",    "Q4_0",    "Q4_1",  "Q4_2",   "Q4_3",  "Q5_0",  "Q5_1",
      "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
      "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
      "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16"};
  switch (type) {
    case 34:
      return "TQ1_0";
    case 35:
      return "TQ2_0";
    case 39:
      return "MXFP4";
    case 40:
      return "NVFP4";
    default:
      return type < std::size(kNames) ? kNames[type] : fmt::format("number {}", type);
  }
}

std::vector<int64_t> read_shape(GgufReader& reader) {
  const auto dimensions = reader.number<uint32_t>();
  if (dimensions == 0 || dimensions > kMostDimensions) {
    reader.refuse(
        fmt::format("has {} dimensions where 1 to {} are allowed; the header is damaged, "
                    "fetch the file again",
                    dimensions, kMostDimensions));
  }
  std::vector<int64_t> shape;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto extent = reader.number<uint64_t>();
    if (extent == 0 || extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      reader.refuse(fmt::format(
          "has a dimension of {}; the header is damaged, fetch the file again", extent));
    }
    shape.push_back(static_cast<int64_t>(extent));
  }
  std::reverse(shape.begin(), shape.end());
  return shape;
}

/// A tensor's description; its offset still counts from the start of the data.
StoredTensor read_tensor(GgufReader& reader, uint64_t number) {
  reader.set_subject(fmt::format("the name of tensor {}", number));
  StoredTensor tensor;
  tensor.info.name = reader.text(kLongestName);
  if (tensor.info.name.empty()) {
    reader.refuse("is empty; the header is damaged, fetch the file again");
  }
  reader.set_subject("tensor " + printable(tensor.info.name));
  tensor.info.shape = read_shape(reader);
  const auto ggml_type = reader.number<uint32_t>();
  const std::optional<StorageType> type = storage_type_of_gguf(ggml_type);
  if (!type) {
    reader.refuse(
        fmt::format("is stored as {}, and this build reads {} from GGUF; fetch the model in one of "
                    "these",
                    ggml_type_name(ggml_type), storage_type_list()));
  }
  tensor.info.type = *type;
  tensor.offset = reader.number<uint64_t>();
  const int64_t block = storage_block_size(*type);
  if (tensor.info.shape.back() % block != 0) {
    reader.refuse(
        fmt::format("has rows of {} values, which is no multiple of the {} of a {} "
                    "block; the header is damaged, fetch the file again",
                    tensor.info.shape.back(), block, storage_type_name(*type)));
  }
  return tensor;
}

/// Makes a tensor's offset count from the file's start, and checks that its bytes are in the file.
Extent place(const InputFile& file, StoredTensor& tensor, uint64_t data_begin, uint64_t alignment) {
  const std::string subject = "tensor " + printable(tensor.info.name);
  // 64 bytes a value is far above any type's, so that storage_bytes cannot overflow.
  const std::optional<int64_t> values = checked_values(tensor.info.shape);
  if (!values || *values > std::numeric_limits<int64_t>::max() / 64) {
    file.refuse(subject +
                " has more values than can be counted; the header is damaged, fetch the "
                "file again");
  }
  if (tensor.offset % alignment != 0) {
    file.refuse(
        fmt::format("{} begins at {}, which is no multiple of the alignment {}; the header "
                    "is damaged, fetch the file again",
                    subject, tensor.offset, alignment));
  }
  const auto bytes = static_cast<uint64_t>(storage_bytes(tensor.info.type, *values));
  const std::optional<uint64_t> begin = checked_sum(data_begin, tensor.offset);
  const std::optional<uint64_t> end = begin ? checked_sum(*begin, bytes) : std::nullopt;
  if (!end) {
    file.refuse(
        fmt::format("{} begins at {}, beyond any file; the header is damaged, fetch the "
                    "file again",
                    subject, tensor.offset));
  }
  if (*end > file.size_bytes()) file.refuse_truncated(subject, bytes, *begin);
  tensor.offset = *begin;
  return {*begin, *end, tensor.info.name};
}

std::vector<StoredTensor> read_tensors(GgufReader& reader, uint64_t count, uint64_t alignment) {
  std::vector<StoredTensor> tensors;
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    tensors.push_back(read_tensor(reader, i));
    if (!names.insert(tensors.back().info.name).second) {
      reader.refuse("is there twice; the header is damaged, fetch the file again");
    }
  }
  // The position is at most the file's size, so this sum cannot wrap.
  const uint64_t data_begin = (reader.position() + alignment - 1) / alignment * alignment;
  std::vector<Extent> extents;
  for (StoredTensor& tensor : tensors) {
    extents.push_back(place(reader.file(), tensor, data_begin, alignment));
  }
  check_no_overlap(reader.file(), extents);
  return tensors;
}

}  // namespace

GgufFile open_gguf(const std::string& path) {
  std::vector<InputFile> inputs;
  inputs.emplace_back(path);
  GgufReader reader(inputs.front());
  const Counts counts = read_counts(reader);
  GgufFile file;
  file.metadata = read_metadata(reader, counts.entries);
  refuse_split(reader.file(), file.metadata);
  const uint64_t alignment = alignment_of(reader.file(), file.metadata);
  std::vector<StoredTensor> tensors = read_tensors(reader, counts.tensors, alignment);
  file.tensors = std::make_unique<FileTensorSource>(std::move(inputs), std::move(tensors));
  return file;
}

}  // namespace mechsweep
