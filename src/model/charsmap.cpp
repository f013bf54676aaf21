#include "model/charsmap.h"

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

// The unit of a double-array trie as the Darts-clone library stores it.
bool has_leaf(uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
uint32_t value_of(uint32_t unit) {
  return unit & 0x7FFFFFFF;
}
uint32_t label_of(uint32_t unit) {
  return unit & 0x800000FF;
}
uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & 0x200) >> 6);
}

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

uint32_t little_endian(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[offset + i])) << (8 * i);
  }
  return value;
}

}  // namespace

Charsmap Charsmap::from_base64(std::string_view text, const std::string& path) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) fail(ErrorKind::input, "{} is not base64; get the tokenizer again", path);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xFF);
  }
  return {bytes, path};
}

Charsmap::Charsmap(std::string_view bytes, const std::string& path) {
  const uint32_t size = bytes.size() < 4 ? 0 : little_endian(bytes, 0);
  if (size < 4 || size % 4 != 0 || size > bytes.size() - 4) {
    fail(ErrorKind::input, "{} is not a table of character replacements; get the tokenizer again",
         path);
  }
  for (size_t offset = 4; offset < 4 + size_t{size}; offset += 4) {
    units_.push_back(little_endian(bytes, offset));
  }
  replacements_ = bytes.substr(4 + size_t{size});
  check_utf8(replacements_, path);
}

std::optional<std::string_view> Charsmap::replacement(uint32_t start) const {
  // Replacements may share their ends, so one can start inside another.
  const bool inside = start < replacements_.size();
  if (!inside || (static_cast<uint8_t>(replacements_[start]) & 0xC0) == 0x80) return std::nullopt;
  const auto rest = std::string_view(replacements_).substr(start);
  return rest.substr(0, rest.find('\0'));
}

std::optional<std::string_view> Charsmap::find(std::string_view chunk) const {
  size_t node = offset_of(units_[0]);
  for (const char c : chunk) {
    const auto byte = static_cast<uint8_t>(c);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label_of(units_[node]) != byte) break;
    const bool leaf = has_leaf(units_[node]);
    node ^= offset_of(units_[node]);
    if (leaf) return node < units_.size() ? replacement(value_of(units_[node])) : std::nullopt;
  }
  return std::nullopt;
}

void Charsmap::apply_to_cluster(std::string_view cluster, TraceBuilder& out) const {
  constexpr size_t kLongestWhole = 5;
  const auto whole = cluster.size() <= kLongestWhole ? find(cluster) : std::nullopt;
  if (whole) return out.replace(cluster.size(), *whole);
  for (size_t at = 0; at < cluster.size();) {
    const auto length = static_cast<size_t>(code_point_at(cluster, at).length);
    const auto found = find(cluster.substr(at, length));
    if (found) {
      out.replace(length, *found);
    } else {
      out.copy(length);
    }
    at += length;
  }
}

TracedText Charsmap::apply(std::string_view text) const {
  TraceBuilder out(text);
  for (const int32_t end : grapheme_ends(text)) {
    const size_t begin = out.position();
    apply_to_cluster(text.substr(begin, static_cast<size_t>(end) - begin), out);
  }
  return out.finish();
}

}  // namespace mechsweep
