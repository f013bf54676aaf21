#include "core/text_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

namespace mechsweep {

std::string read_text_file(const std::string& path, ErrorKind kind) {
  const auto refuse = [&](int reason) {
    fail(kind, "{}: cannot be read: {}", path, std::strerror(reason));
  };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (!file) refuse(errno);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const size_t got = std::fread(buffer, 1, sizeof buffer, file.get());
    content.append(buffer, got);
    if (got == sizeof buffer) continue;
    if (std::ferror(file.get()) != 0) refuse(errno);  // a folder opens, but cannot be read
    return content;
  }
}

namespace {

/// Length of the well-formed sequence at the start of `rest`, or 0 (Unicode 15, table 3-7).
size_t utf8_sequence(std::string_view rest) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(rest[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  uint8_t low = 0x80, high = 0xBF;
  size_t length = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;   // shorter forms exist
    if (lead == 0xED) high = 0x9F;  // surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;  // beyond U+10FFFF
  }
  if (length == 0 || rest.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  return length;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_sequence(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string fit_for_message(std::string_view text, size_t longest) {
  std::string shown;
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<uint8_t>(text[at]);
    const size_t length = utf8_sequence(text.substr(at));
    const bool as_is = length > 0 && byte >= 0x20 && byte != 0x7F;
    const std::string part =
        as_is ? std::string(text.substr(at, length)) : fmt::format("\\x{:02X}", byte);
    if (shown.size() + part.size() > longest) return shown + "...";
    shown += part;
    at += as_is ? length : 1;
  }
  return shown;
}

LineColumn line_column(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  LineColumn place;
  place.line += static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  for (const char c : before.substr(line_start))
    if ((static_cast<uint8_t>(c) & 0xC0) != 0x80) ++place.column;
  return place;
}

std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return text;
}

std::vector<NumberedLine> filled_lines(std::string_view text) {
  std::vector<NumberedLine> lines;
  std::string_view rest = without_byte_order_mark(text);
  for (int number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back({number, line});
  }
  return lines;
}

std::string resolve_path(const std::string& folder, const std::string& path) {
  if (folder.empty()) return path;
  return (std::filesystem::path(folder) / path).string();  // an absolute path replaces the folder
}

}  // namespace mechsweep
