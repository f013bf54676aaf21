#include "model/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "model/json_file.h"

// The format: huggingface/safetensors, README, "Format". A little-endian uint64 length, that many
// bytes of JSON, then the data that the JSON's data_offsets count in.

namespace mechsweep {
namespace {

constexpr uint64_t kLengthBytes = 8;

struct DataType {
  uint64_t bytes;
  std::optional<StorageType> readable;
};

std::optional<DataType> data_type(const std::string& name) {
  static const std::map<std::string, DataType> kTypes = {
      {"BOOL", {1, {}}},
      {"U8", {1, {}}},
      {"I8", {1, {}}},
      {"F8_E5M2", {1, {}}},
      {"F8_E4M3", {1, {}}},
      {"F8_E8M0", {1, {}}},
      {"U16", {2, {}}},
      {"I16", {2, {}}},
      {"U32", {4, {}}},
      {"I32", {4, {}}},
      {"U64", {8, {}}},
      {"I64", {8, {}}},
      {"F64", {8, {}}},
      {"C64", {8, {}}},
      {"F32", {4, StorageType::f32}},
      {"F16", {2, StorageType::f16}},
      {"BF16", {2, StorageType::bf16}},
  };
  const auto found = kTypes.find(name);
  return found == kTypes.end() ? std::nullopt : std::optional(found->second);
}

[[noreturn]] void refuse_tensor(const InputFile& file, const std::string& name,
                                const std::string& message) {
  file.refuse(fmt::format("tensor {} {}; the header is damaged, fetch the file again",
                          printable(name), message));
}

std::optional<int64_t> whole_number(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(number);
}

/// A key of a tensor's description that must be a list of whole numbers.
std::vector<int64_t> whole_numbers(const InputFile& file, const std::string& name,
                                   const Json& description, const char* key) {
  std::vector<int64_t> numbers;
  const auto found = description.find(key);
  bool good = found != description.end() && found->is_array();
  if (good) {
    for (const Json& item : *found) {
      const std::optional<int64_t> number = whole_number(item);
      good = good && number.has_value();
      numbers.push_back(number.value_or(0));
    }
  }
  if (!good) refuse_tensor(file, name, fmt::format("has no '{}' that lists whole numbers", key));
  return numbers;
}

struct Description {
  std::string type_name;
  DataType type;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // in the data
  uint64_t end = 0;
};

Description read_description(const InputFile& file, const std::string& name, const Json& json) {
  if (!json.is_object()) refuse_tensor(file, name, "is not described by an object");
  const auto type_name = json.find("dtype");
  if (type_name == json.end() || !type_name->is_string()) {
    refuse_tensor(file, name, "has no 'dtype'");
  }
  Description out;
  out.type_name = type_name->get<std::string>();
  const std::optional<DataType> type = data_type(out.type_name);
  if (!type) {
    file.refuse(
        fmt::format("tensor {} is stored as {}, which this build does not know (it reads "
                    "F32, F16 and BF16); convert the checkpoint to one of these",
                    printable(name), printable(out.type_name)));
  }
  out.type = *type;
  out.shape = whole_numbers(file, name, json, "shape");
  const std::vector<int64_t> range = whole_numbers(file, name, json, "data_offsets");
  if (range.size() != 2 || range[0] > range[1]) {
    refuse_tensor(file, name, "has 'data_offsets' that are not a begin and an end");
  }
  out.begin = static_cast<uint64_t>(range[0]);
  out.end = static_cast<uint64_t>(range[1]);
  const std::optional<int64_t> values = checked_values(out.shape);
  const std::optional<uint64_t> bytes =
      values ? checked_product(static_cast<uint64_t>(*values), out.type.bytes) : std::nullopt;
  if (!bytes || *bytes != out.end - out.begin) {
    refuse_tensor(file, name,
                  fmt::format("has {} bytes, which are not those of its shape and type {}",
                              out.end - out.begin, out.type_name));
  }
  return out;
}

uint64_t read_header_length(const InputFile& file) {
  file.refuse_lfs_pointer();
  uint64_t length = 0;
  uint8_t bytes[kLengthBytes] = {};
  file.read_at(0, bytes, "the header's length");
  std::memcpy(&length, bytes, sizeof length);
  if (length > kLargestJson) {
    file.refuse(
        fmt::format("the header would have {} bytes; this is not a safetensors file, or "
                    "a damaged one, fetch it again",
                    length));
  }
  if (length > file.size_bytes() - kLengthBytes) {
    file.refuse_truncated("the header", length, kLengthBytes);
  }
  return length;
}

void check_text_map(const InputFile& file, const Json& metadata) {
  const bool good =
      metadata.is_object() &&
      std::all_of(metadata.begin(), metadata.end(), [](const Json& v) { return v.is_string(); });
  if (!good) {
    file.refuse(
        "'__metadata__' is not a map of texts; the header is damaged, fetch the file again");
  }
}

/// The data holds the tensors one after another: no overlap, no gap, nothing after the last.
void check_data(const InputFile& file, uint64_t data_begin, std::vector<Extent>& extents) {
  for (const Extent& extent : extents) {
    if (extent.end > file.size_bytes()) {
      file.refuse_truncated("tensor " + printable(extent.name), extent.end - extent.begin,
                            extent.begin);
    }
  }
  check_no_overlap(file, extents);
  uint64_t filled = data_begin;
  for (const Extent& extent : extents) {
    if (extent.begin != filled) {
      refuse_tensor(
          file, extent.name,
          fmt::format("begins at byte {} and leaves a gap after {}", extent.begin, filled));
    }
    filled = extent.end;
  }
  if (filled != file.size_bytes()) {
    file.refuse(
        fmt::format("the tensors end at byte {} and the file has {}; it is damaged, fetch "
                    "it again",
                    filled, file.size_bytes()));
  }
}

}  // namespace

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  const uint64_t length = read_header_length(file);
  const Json json = read_json(file, kLengthBytes, length, "the header");
  if (!json.is_object()) {
    file.refuse("the header is not a JSON object; the file is damaged, fetch it again");
  }
  const uint64_t data_begin = kLengthBytes + length;
  SafetensorsHeader header;
  std::vector<Extent> extents;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      check_text_map(file, value);
      continue;
    }
    Description description = read_description(file, name, value);
    // Both terms are below 2^63, so these sums cannot wrap.
    const uint64_t begin = data_begin + description.begin;
    extents.push_back({begin, data_begin + description.end, name});
    if (description.type.readable) {
      TensorInfo info{name, std::move(description.shape), *description.type.readable};
      header.tensors.push_back({std::move(info), 0, begin});
    } else {
      header.unreadable.emplace(name, description.type_name);
    }
  }
  check_data(file, data_begin, extents);
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) {
              return std::tie(a.offset, a.info.name) < std::tie(b.offset, b.info.name);
            });
  return header;
}

}  // namespace mechsweep
