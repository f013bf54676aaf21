#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace mechsweep {

/// The whole content of a file, byte for byte. Throws Error{kind} naming the path and the
/// operating system's reason when it is missing, a folder or unreadable.
std::string read_text_file(const std::string& path, ErrorKind kind);

/// Byte offset of the first byte that cannot be part of valid UTF-8 (RFC 3629: no surrogates,
/// no over-long forms), or std::string_view::npos.
size_t find_invalid_utf8(std::string_view text);

/// Text that came from a file, made fit for a message: control bytes and bytes that are no UTF-8 as
/// \x0A, cut after at most `longest` bytes with "..." in place of the rest.
std::string fit_for_message(std::string_view text, size_t longest);

/// A place in a text; both count from 1, and a column is a character, not a byte.
struct LineColumn {
  int line = 1;
  int column = 1;
  bool operator==(const LineColumn&) const = default;
};
/// The place of a byte offset (at most text.size()) of a UTF-8 text.
LineColumn line_column(std::string_view text, size_t offset);

/// The text without a leading UTF-8 byte order mark.
std::string_view without_byte_order_mark(std::string_view text);

/// A line of a text and its number, from 1.
struct NumberedLine {
  int number = 1;
  std::string_view text;  ///< into the text, without the line feed
};
/// The lines that hold more than white space, a leading byte order mark left out.
std::vector<NumberedLine> filled_lines(std::string_view text);

/// The path itself when absolute or when there is no folder, else folder/path.
std::string resolve_path(const std::string& folder, const std::string& path);

}  // namespace mechsweep
