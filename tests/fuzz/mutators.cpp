#include "mutators.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <vector>

#include "core/json.h"

namespace mechsweep::fuzz {

namespace {

std::vector<std::string> split(std::string_view bytes, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= bytes.size();) {
    const size_t end = std::min(bytes.find(separator, begin), bytes.size());
    parts.emplace_back(bytes.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// Changes one of the JSON documents that a separator parts; lines are also copied and dropped.
std::optional<std::string> mutate_documents(std::string_view bytes, char separator,
                                            Random& random) {
  std::vector<std::string> parts = split(bytes, separator);
  const size_t chosen = random.below(parts.size());
  if (separator == '\n' && random.one_in(8)) {
    if (random.one_in(2)) {
      parts.insert(parts.begin() + static_cast<ptrdiff_t>(random.below(parts.size() + 1)),
                   std::string(parts[chosen]));
    } else {
      parts.erase(parts.begin() + static_cast<ptrdiff_t>(chosen));
    }
  } else {
    const auto changed = mutate_json(parts[chosen], random);
    if (!changed) return std::nullopt;
    parts[chosen] = *changed;
  }
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

/// Gives the tensors of a header the places that their shapes and types ask for, one after another,
/// and returns the data's size; nothing where a shape is not small.
std::optional<size_t> lay_out(Json& header) {
  static const std::map<std::string, size_t> kSizes = {
      {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U8", 1}, {"F64", 8}, {"BOOL", 1}};
  size_t end = 0;
  for (auto& [name, tensor] : header.items()) {
    if (name == "__metadata__") continue;
    if (!tensor.is_object() || !tensor.contains("shape") || !tensor["shape"].is_array()) return {};
    size_t bytes = 4;
    for (const auto& [type, width] : kSizes) {
      if (tensor.contains("dtype") && tensor["dtype"] == type) bytes = width;
    }
    for (const Json& dimension : tensor["shape"]) {
      if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > 64) return {};
      bytes *= dimension.get<size_t>();
    }
    if (bytes > 16'384) return {};
    tensor["data_offsets"] = {end, end + bytes};
    end += bytes;
  }
  return end;
}

/// Mends the places of a header's tensors where that can be; changes `data` with them.
void mend_layout(std::string& header, std::string& data) {
  Json json = Json::parse(header, nullptr, false);
  if (!json.is_object()) return;
  const std::optional<size_t> size = lay_out(json);
  if (!size) return;
  header = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  data.resize(*size, '\x3e');
}

/// Changes the header of a safetensors file, and mostly mends its length and the data's.
std::optional<std::string> mutate_safetensors(std::string_view bytes, Random& random) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) return std::nullopt;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > bytes.size() - sizeof length) return std::nullopt;
  std::string header(bytes.substr(sizeof length, length));
  std::string data(bytes.substr(sizeof length + length));
  if (const auto changed = mutate_json(header, random)) header = *changed;
  if (!random.one_in(3)) mend_layout(header, data);
  if (random.one_in(6)) data.resize(random.below(2 * data.size() + 64));
  uint64_t said = header.size();
  if (random.one_in(10)) said = random.hostile_number();
  std::string out(reinterpret_cast<const char*>(&said), sizeof said);
  return out + header + data;
}

}  // namespace

uint64_t Random::hostile_number() {
  static constexpr std::array<uint64_t, 20> kEdges = {0,
                                                      1,
                                                      2,
                                                      3,
                                                      7,
                                                      8,
                                                      31,
                                                      32,
                                                      255,
                                                      256,
                                                      65535,
                                                      65536,
                                                      0x7fffffff,
                                                      0x80000000,
                                                      0xffffffff,
                                                      0x100000000,
                                                      0x7fffffffffffffff,
                                                      0x8000000000000000,
                                                      0xfffffffffffffff0,
                                                      0xffffffffffffffff};
  const uint64_t edge = of(std::span<const uint64_t>(kEdges));
  if (one_in(3)) return edge - below(9);
  if (one_in(4)) return uint64_t{1} << below(64);
  return edge;
}

std::optional<std::string> mutate(Format format, std::string_view bytes, Random& random) {
  switch (format) {
    case Format::json:
      return mutate_documents(bytes, '\0', random);
    case Format::json_lines:
      return mutate_documents(bytes, '\n', random);
    case Format::safetensors:
      return mutate_safetensors(bytes, random);
    case Format::gguf:
      return mutate_gguf(bytes, random);
    case Format::bytes:
      break;
  }
  return std::nullopt;
}

}  // namespace mechsweep::fuzz
