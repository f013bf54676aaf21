#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/traced_text.h"

namespace mechsweep {

/// Throws Error{input} that names the first byte of `text` which is not valid UTF-8 (RFC 3629:
/// no surrogates, no overlong forms, nothing above U+10FFFF). `what` names the text.
void check_utf8(std::string_view text, std::string_view what);
/// Whether `text` is valid UTF-8 as a whole.
bool is_utf8(std::string_view text);

/// The code point that starts at `offset` of valid UTF-8, and its length in bytes.
struct CodePoint {
  char32_t value = 0;
  int32_t length = 0;
};
CodePoint code_point_at(std::string_view text, size_t offset);
/// Bytes of `text` that the code points [0, count) take; its whole length if it has fewer.
size_t bytes_of_code_points(std::string_view text, size_t count);

/// `text` for a message: quoted, control bytes and invalid UTF-8 escaped, long ones cut.
std::string show_text(std::string_view text);

/// Whether the first (last) code point of valid UTF-8 is a word character in the sense of Unicode
/// TS 18, annex C: alphabetic, mark, decimal number, connector or join control.
bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);
/// Bytes of Unicode white space at the start (end) of valid UTF-8.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);

/// Unicode normalisation forms.
enum class NormalForm { nfc, nfd, nfkc, nfkd };
/// A normalisation form of valid UTF-8, by the tables of Unicode 9.0, as the tokenizers library has
/// them: later characters stay as they are.
TracedText to_normal_form(std::string_view text, NormalForm form);

/// Whether a code point is a combining mark (general category M in Unicode 9.0, as above), white
/// space, or a word character as above.
bool is_mark(char32_t value);
bool is_space(char32_t value);
/// The lower case of one code point by itself, as UTF-8.
std::string lower_case(char32_t value);
/// Appends a code point as UTF-8.
void append_utf8(std::string& text, char32_t value);
/// Ends of the grapheme clusters of valid UTF-8 (Unicode annex 29), in bytes, ascending.
std::vector<int32_t> grapheme_ends(std::string_view text);

}  // namespace mechsweep
