#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "mutators.h"

namespace mechsweep::fuzz {

namespace {

constexpr uint32_t kString = 8;
constexpr uint32_t kArray = 9;
constexpr uint64_t kMostItems = 100'000;

/// Bytes of a value of each type; 0 for strings and arrays.
constexpr std::array<size_t, 13> kSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T number() {
    T value{};
    const std::string_view raw = take(sizeof value);
    if (raw.size() == sizeof value) std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }
  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - at_) good_ = false;
    if (!good_) return {};
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }
  std::string text() { return std::string(take(number<uint64_t>())); }
  [[nodiscard]] bool good() const { return good_; }
  void spoil() { good_ = false; }
  [[nodiscard]] size_t at() const { return at_; }
  [[nodiscard]] std::string_view rest() const { return bytes_.substr(at_); }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  bool good_ = true;
};

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out += text;
}

/// A scalar's bytes, or a string; for an array, the items of its type.
struct Value {
  uint32_t type = 0;
  std::string bytes;
  std::vector<Value> items;
  uint64_t extra_items = 0;  ///< said, but not there

  static Value read(Cursor& cursor, uint32_t type, int depth) {
    Value value{type, {}, {}, 0};
    if (type >= kSizes.size() || depth > 6) {
      cursor.spoil();
    } else if (type == kString) {
      value.bytes = cursor.text();
    } else if (type == kArray) {
      const auto item_type = cursor.number<uint32_t>();
      const auto count = cursor.number<uint64_t>();
      if (count > kMostItems) cursor.spoil();
      put(value.bytes, item_type);
      for (uint64_t i = 0; i < count && cursor.good(); ++i) {
        value.items.push_back(read(cursor, item_type, depth + 1));
      }
    } else {
      value.bytes = cursor.take(kSizes[type]);
    }
    return value;
  }

  void write(std::string& out) const {
    if (type == kString) return put_text(out, bytes);
    out += bytes;
    if (type != kArray) return;
    put<uint64_t>(out, items.size() + extra_items);
    for (const Value& item : items) item.write(out);
  }
};

struct Entry {
  std::string key;
  Value value;
};

struct Tensor {
  std::string name;
  std::vector<uint64_t> dimensions;
  uint32_t type = 0;
  uint64_t offset = 0;
};

/// A GGUF file in parts.
struct Parts {
  uint32_t magic = 0, version = 0;
  std::vector<Entry> entries;
  std::vector<Tensor> tensors;
  std::string data;
  uint64_t extra_tensors = 0, extra_entries = 0;
  size_t alignment = 32;

  static std::optional<Parts> read(std::string_view bytes) {
    Cursor cursor(bytes);
    Parts parts;
    parts.magic = cursor.number<uint32_t>();
    parts.version = cursor.number<uint32_t>();
    const auto tensors = cursor.number<uint64_t>();
    const auto entries = cursor.number<uint64_t>();
    if (std::max(tensors, entries) > kMostItems) return std::nullopt;
    for (uint64_t i = 0; i < entries && cursor.good(); ++i) {
      Entry entry;
      entry.key = cursor.text();
      const auto type = cursor.number<uint32_t>();
      entry.value = Value::read(cursor, type, 0);
      parts.entries.push_back(std::move(entry));
    }
    for (uint64_t i = 0; i < tensors && cursor.good(); ++i) {
      Tensor tensor;
      tensor.name = cursor.text();
      const auto dimensions = cursor.number<uint32_t>();
      for (uint32_t d = 0; d < dimensions && d < 8; ++d) {
        tensor.dimensions.push_back(cursor.number<uint64_t>());
      }
      tensor.type = cursor.number<uint32_t>();
      tensor.offset = cursor.number<uint64_t>();
      parts.tensors.push_back(std::move(tensor));
    }
    if (!cursor.good()) return std::nullopt;
    const size_t begin = (cursor.at() + 31) / 32 * 32;
    if (begin < bytes.size()) parts.data = bytes.substr(begin);
    return parts;
  }

  [[nodiscard]] std::string write() const {
    std::string out;
    put(out, magic);
    put(out, version);
    put<uint64_t>(out, tensors.size() + extra_tensors);
    put<uint64_t>(out, entries.size() + extra_entries);
    for (const Entry& entry : entries) {
      put_text(out, entry.key);
      put(out, entry.value.type);
      entry.value.write(out);
    }
    for (const Tensor& tensor : tensors) {
      put_text(out, tensor.name);
      put(out, static_cast<uint32_t>(tensor.dimensions.size()));
      for (const uint64_t dimension : tensor.dimensions) put(out, dimension);
      put(out, tensor.type);
      put(out, tensor.offset);
    }
    if (!data.empty()) out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data;
  }
};

class GgufMutator {
 public:
  GgufMutator(Parts parts, Random& random) : parts_(std::move(parts)), random_(random) {}

  std::string run() {
    const size_t changes = 1 + random_.below(3);
    for (size_t i = 0; i < changes; ++i) {
      const size_t kind = random_.below(12);
      if (kind == 0) {
        change_header();
      } else if (kind < 8 && !parts_.entries.empty()) {
        change_entry();
      } else if (kind < 11 && !parts_.tensors.empty()) {
        change_tensor();
      } else {
        change_data();
      }
    }
    return parts_.write();
  }

 private:
  void change_header() {
    switch (random_.below(4)) {
      case 0:
        parts_.version = static_cast<uint32_t>(random_.hostile_number());
        break;
      case 1:
        parts_.extra_tensors = random_.hostile_number();
        break;
      case 2:
        parts_.extra_entries = random_.hostile_number();
        break;
      default:
        parts_.alignment = size_t{1} << random_.below(8);
    }
  }

  void change_entry() {
    auto& entries = parts_.entries;
    const size_t chosen = random_.below(entries.size());
    Entry& entry = entries[chosen];
    switch (random_.below(10)) {
      case 0:
        entries.erase(entries.begin() + static_cast<ptrdiff_t>(chosen));
        break;
      case 1:
        entries.push_back(Entry(entry));
        break;
      case 2:
        entry.key = entries[random_.below(entries.size())].key;
        break;
      case 3:
        change_text(entry.key);
        break;
      case 4:
        entry.value = entries[random_.below(entries.size())].value;
        break;
      case 5:
        retype(entry.value);
        break;
      default:
        change_value(entry.value);
    }
  }

  /// A number of another type, at the edge of something.
  void retype(Value& value) {
    const std::array<uint32_t, 7> types = {0, 4, 5, 6, 7, 10, 12};
    value.type = random_.of(std::span<const uint32_t>(types));
    value.items.clear();
    const uint64_t number = random_.hostile_number();
    value.bytes.assign(reinterpret_cast<const char*>(&number), kSizes[value.type]);
    if (value.type == 7) value.bytes[0] &= 1;
  }

  void change_value(Value& value) {
    if (value.type == kString) return change_text(value.bytes);
    if (value.type == kArray) return change_array(value);
    const uint64_t number = random_.hostile_number();
    const bool is_double = value.type == 12;
    const bool is_float = value.type == 6;
    const std::array<double, 8> floats = {0.0, -1.0, 1e30, 1e-30, 0.5, 1.0, 1.0 / 0.0, 0.0 / 0.0};
    if (is_double || is_float) {
      const double chosen = random_.of(std::span<const double>(floats));
      const auto narrow = static_cast<float>(chosen);
      value.bytes.clear();
      if (is_double) put(value.bytes, chosen);
      if (is_float) put(value.bytes, narrow);
      return;
    }
    std::memcpy(value.bytes.data(), &number, std::min(value.bytes.size(), sizeof number));
  }

  void change_array(Value& value) {
    if (value.items.empty() || random_.one_in(12)) {
      value.extra_items = random_.hostile_number();
      return;
    }
    const size_t chosen = random_.below(value.items.size());
    switch (random_.below(5)) {
      case 0:
        value.items.erase(value.items.begin() + static_cast<ptrdiff_t>(chosen));
        break;
      case 1:
        value.items.push_back(Value(value.items[chosen]));
        break;
      case 2:
        value.items[chosen] = Value(value.items[random_.below(value.items.size())]);
        break;
      default:
        change_value(value.items[chosen]);
    }
  }

  void change_text(std::string& text) {
    static constexpr std::array<std::string_view, 12> kParts = {
        " ",    "\n",     "\xff",  "\u2581", "\u0120", "llama",
        "gpt2", "gemma3", "qwen2", "gpt-2",  ".",      "<0x0A>"};
    const size_t at = random_.below(text.size() + 1);
    switch (random_.below(4)) {
      case 0:
        text.erase(at, 1 + random_.below(4));
        break;
      case 1:
        text.insert(at, random_.of(std::span<const std::string_view>(kParts)));
        break;
      case 2:
        text = random_.of(std::span<const std::string_view>(kParts));
        break;
      default:
        text.insert(at, 1, static_cast<char>(random_.below(256)));
    }
  }

  void change_tensor() {
    auto& tensors = parts_.tensors;
    const size_t chosen = random_.below(tensors.size());
    Tensor& tensor = tensors[chosen];
    switch (random_.below(8)) {
      case 0:
        tensors.erase(tensors.begin() + static_cast<ptrdiff_t>(chosen));
        break;
      case 1:
        tensors.push_back(Tensor(tensor));
        break;
      case 2:
        change_text(tensor.name);
        break;
      case 3:
        tensor.type = static_cast<uint32_t>(random_.below(42));
        break;
      case 4:
        tensor.offset = tensors[random_.below(tensors.size())].offset;
        break;
      case 5:
        tensor.offset = random_.hostile_number() / 32 * 32;
        break;
      case 6:
        tensor.dimensions.resize(random_.below(6), 1);
        break;
      default:
        if (!tensor.dimensions.empty()) {
          uint64_t& dimension = tensor.dimensions[random_.below(tensor.dimensions.size())];
          dimension = random_.one_in(2) ? random_.hostile_number() : dimension + 1;
        }
    }
  }

  void change_data() {
    if (parts_.data.empty() || random_.one_in(3)) {
      parts_.data.resize(random_.below(parts_.data.size() + 512));
      return;
    }
    parts_.data[random_.below(parts_.data.size())] = static_cast<char>(random_.below(256));
  }

  Parts parts_;
  Random& random_;
};

}  // namespace

std::optional<std::string> mutate_gguf(std::string_view bytes, Random& random) {
  std::optional<Parts> parts = Parts::read(bytes);
  if (!parts) return std::nullopt;
  return GgufMutator(std::move(*parts), random).run();
}

}  // namespace mechsweep::fuzz
