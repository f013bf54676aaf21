#include "prompts/passages.h"

#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "core/text_file.h"
#include "prompts/generator.h"

namespace mechsweep {

namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n\v\f";

/// The NAME of a heading `# NAME: source`, or nothing.
std::string heading_of(std::string_view line) {
  line.remove_prefix(1);
  const size_t colon = line.find(':');
  const size_t begin = line.find_first_not_of(kWhiteSpace);
  if (colon == std::string_view::npos || begin >= colon) return "";
  std::string_view name = line.substr(begin, colon - begin);
  name = name.substr(0, name.find_last_not_of(kWhiteSpace) + 1);
  return std::string(name);
}

void append_words(std::string& text, std::string_view line) {
  for (size_t at = line.find_first_not_of(kWhiteSpace); at != std::string_view::npos;) {
    const size_t end = std::min(line.find_first_of(kWhiteSpace, at), line.size());
    if (!text.empty()) text += ' ';
    text += line.substr(at, end - at);
    at = line.find_first_not_of(kWhiteSpace, end);
  }
}

/// Does a sentence end with the word that ends before byte `end`?
bool ends_sentence(const std::string& text, size_t end) {
  while (end > 0 && std::string_view("\"')]").find(text[end - 1]) != std::string_view::npos) --end;
  return end > 0 && std::string_view(".!?").find(text[end - 1]) != std::string_view::npos;
}

std::vector<size_t> sentence_starts(const std::string& text) {
  std::vector<size_t> starts = {0};
  for (size_t at = text.find(' '); at != std::string::npos; at = text.find(' ', at + 1))
    if (ends_sentence(text, at)) starts.push_back(at + 1);
  return starts;
}

}  // namespace

std::vector<NaturalText> read_natural_texts(const std::string& path) {
  const std::string content = read_text_file(path, ErrorKind::input);
  const size_t invalid = find_invalid_utf8(content);
  if (invalid != std::string::npos)
    fail(ErrorKind::input, "{}: is not UTF-8 at byte {}; save it as UTF-8", path, invalid);
  std::vector<NaturalText> texts = {{"text", "", {}}};
  for (const NumberedLine& line : filled_lines(content)) {
    if (line.text.front() != '#') {
      append_words(texts.back().text, line.text);
      continue;
    }
    std::string name = heading_of(line.text);
    if (!name.empty()) texts.push_back({std::move(name), "", {}});
  }
  texts.erase(std::remove_if(texts.begin(), texts.end(),
                             [](const NaturalText& one) { return one.text.empty(); }),
              texts.end());
  if (texts.empty()) fail(ErrorKind::input, "{}: has no text", path);
  for (NaturalText& one : texts) one.starts = sentence_starts(one.text);
  return texts;
}

Passage passage_from(const NaturalText& text, size_t begin, int64_t tokens,
                     const Tokenizer& tokenizer) {
  // Only as much as is needed is cut into tokens, or a book would take as long as it is squared. It
  // ends at a space, where no tokenizer joins anything.
  constexpr size_t kBytesOfToken = 8;
  for (size_t size = kBytesOfToken * static_cast<size_t>(tokens);; size *= 2) {
    const size_t end =
        size < text.text.size() - begin ? text.text.find(' ', begin + size) : std::string::npos;
    const std::string part =
        " " + text.text.substr(begin, end == std::string::npos ? end : end - begin);
    const Encoding encoding = encode_inside(tokenizer, part);
    if (std::ssize(encoding.ids) >= tokens) {
      std::string shown = part.substr(0, static_cast<size_t>(encoding.bytes[tokens - 1].end));
      // The last token may end inside a character.
      shown.resize(std::min(shown.size(), find_invalid_utf8(shown)));
      return {{encoding.ids.begin(), encoding.ids.begin() + tokens}, std::move(shown)};
    }
    if (end == std::string::npos) return {};
  }
}

}  // namespace mechsweep
