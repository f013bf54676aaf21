#include "model/unicode_text.h"

#include <unicode/brkiter.h>
#include <unicode/bytestream.h>
#include <unicode/edits.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include <array>
#include <memory>

#include "core/error.h"
#include "core/text_file.h"

namespace mechsweep {
namespace {

/// Length of the sequence that a lead byte of valid UTF-8 starts.
size_t sequence_length(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

bool is_word(char32_t value) {
  const auto c = static_cast<UChar32>(value);
  constexpr uint32_t kCategories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || (U_GET_GC_MASK(c) & kCategories) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

const icu::Normalizer2* normalizer_of(NormalForm form, UErrorCode& status) {
  switch (form) {
    case NormalForm::nfd:
      return icu::Normalizer2::getNFDInstance(status);
    case NormalForm::nfkc:
      return icu::Normalizer2::getNFKCInstance(status);
    case NormalForm::nfkd:
      return icu::Normalizer2::getNFKDInstance(status);
    case NormalForm::nfc:
      break;
  }
  return icu::Normalizer2::getNFCInstance(status);
}

/// The tokenizers library, which the tokenizers of models were made with, normalises and knows
/// marks by the tables of Unicode 9.0: characters that came later stay where and what they are.
const icu::UnicodeSet& known_characters() {
  static const icu::UnicodeSet set = [] {
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeSet made(UNICODE_STRING_SIMPLE("[:Age=9.0:]"), status);
    ensure(U_SUCCESS(status), "ICU knows when characters came into Unicode");
    made.freeze();
    return made;
  }();
  return set;
}

/// Where the last code point of a text that is not empty starts.
size_t last_code_point(std::string_view text) {
  size_t offset = text.size() - 1;
  while (offset > 0 && (static_cast<uint8_t>(text[offset]) & 0xC0) == 0x80) --offset;
  return offset;
}

}  // namespace

void check_utf8(std::string_view text, std::string_view what) {
  const size_t offset = find_invalid_utf8(text);
  if (offset == std::string_view::npos) return;
  fail(ErrorKind::input,
       "{} is not valid UTF-8: byte 0x{:02X} at byte offset {}; convert it to UTF-8", what,
       static_cast<uint8_t>(text[offset]), offset);
}

bool is_utf8(std::string_view text) {
  return find_invalid_utf8(text) == std::string_view::npos;
}

CodePoint code_point_at(std::string_view text, size_t offset) {
  ensure(offset < text.size(), "code_point_at is inside its text");
  const size_t length = sequence_length(text[offset]);
  ensure(offset + length <= text.size(), "code_point_at is given valid UTF-8");
  const auto lead = static_cast<uint8_t>(text[offset]);
  // The lead byte keeps 7, 5, 4 or 3 bits of the code point, each further byte 6.
  auto value = static_cast<char32_t>(length == 1 ? lead : lead & (0x7F >> length));
  for (size_t i = 1; i < length; ++i) {
    value = (value << 6) | (static_cast<uint8_t>(text[offset + i]) & 0x3FU);
  }
  return {value, static_cast<int32_t>(length)};
}

size_t bytes_of_code_points(std::string_view text, size_t count) {
  size_t offset = 0;
  for (; count > 0 && offset < text.size(); --count) {
    offset += static_cast<size_t>(code_point_at(text, offset).length);
  }
  return offset;
}

std::string show_text(std::string_view text) {
  constexpr size_t kLongest = 60;
  return fmt::format("'{}'", fit_for_message(text, kLongest));
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word(code_point_at(text, 0).value);
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(code_point_at(text, last_code_point(text)).value);
}

size_t leading_space(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const CodePoint point = code_point_at(text, offset);
    if (!is_space(point.value)) break;
    offset += static_cast<size_t>(point.length);
  }
  return offset;
}

size_t trailing_space(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t offset = last_code_point(rest);
    if (!is_space(code_point_at(rest, offset).value)) break;
    rest = rest.substr(0, offset);
  }
  return text.size() - rest.size();
}

bool is_mark(char32_t value) {
  const auto c = static_cast<UChar32>(value);
  return (U_GET_GC_MASK(c) & U_GC_M_MASK) != 0 && known_characters().contains(c);
}

bool is_space(char32_t value) {
  return u_isUWhiteSpace(static_cast<UChar32>(value));
}

std::string lower_case(char32_t value) {
  // The one code point whose lower case is two, whatever stands around it.
  if (value == 0x130) return "i\u0307";
  std::string text;
  append_utf8(text, static_cast<char32_t>(u_tolower(static_cast<UChar32>(value))));
  return text;
}

void append_utf8(std::string& text, char32_t value) {
  std::array<uint8_t, U8_MAX_LENGTH> bytes{};
  int32_t length = 0;
  UBool failed = false;
  U8_APPEND(bytes.data(), length, U8_MAX_LENGTH, static_cast<UChar32>(value), failed);
  ensure(!failed, "a code point has a UTF-8 form");
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
}

std::vector<int32_t> grapheme_ends(std::string_view text) {
  std::vector<int32_t> ends;
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> graphemes(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  UText* bytes = utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status);
  if (U_SUCCESS(status)) graphemes->setText(bytes, status);
  if (U_SUCCESS(status)) {
    graphemes->first();
    for (int32_t end = graphemes->next(); end != icu::BreakIterator::DONE;
         end = graphemes->next()) {
      ends.push_back(end);
    }
  }
  utext_close(bytes);
  if (U_FAILURE(status)) {
    fail(ErrorKind::input, "the text could not be cut into characters: ICU says {}",
         u_errorName(status));
  }
  return ends;
}

TracedText to_normal_form(std::string_view text, NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* whole = normalizer_of(form, status);
  TracedText result;
  icu::Edits edits;
  if (U_SUCCESS(status)) {
    icu::StringByteSink<std::string> sink(&result.text);
    const icu::FilteredNormalizer2 normalizer(*whole, known_characters());
    normalizer.normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())),
                             sink, &edits, status);
  }
  if (U_FAILURE(status)) {
    fail(ErrorKind::input, "the text could not be brought to a Unicode normal form: ICU says {}",
         u_errorName(status));
  }
  if (!edits.hasChanges()) return {};
  result.changed = true;
  result.begin.reserve(result.text.size());
  result.end.reserve(result.text.size());
  for (auto edit = edits.getFineIterator(); edit.next(status);) {
    for (int32_t i = 0; i < edit.newLength(); ++i) {
      // Inside a change every new byte stands for all of the old ones.
      const bool changed = edit.hasChange();
      result.begin.push_back(edit.sourceIndex() + (changed ? 0 : i));
      result.end.push_back(edit.sourceIndex() + (changed ? edit.oldLength() : i + 1));
    }
  }
  ensure(result.begin.size() == result.text.size(), "every normalised byte has its origin");
  return result;
}

}  // namespace mechsweep
