#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/tokenizer.h"

namespace mechsweep {

/// A text of a file of texts.
struct NaturalText {
  std::string name;            ///< of its heading
  std::string text;            ///< words with one space between them
  std::vector<size_t> starts;  ///< bytes of `text` where sentences begin
};

/// Reads a file of texts: a line `# NAME: source` begins each, `#` alone or without a colon is a
/// comment, and what stands before the first heading is called "text". Every run of white space
/// counts as one space. A sentence begins with a text and after '.', '!' or '?' (closing quotes and
/// brackets included) and white space. Throws Error{input} naming the file when it cannot be read,
/// is no UTF-8 or has no text.
std::vector<NaturalText> read_natural_texts(const std::string& path);

/// The first tokens of a text from a byte on, as after a space.
struct Passage {
  std::vector<int32_t> tokens;  ///< exactly as many as asked for; empty when the text is too short
  std::string text;             ///< with the space before it
};
Passage passage_from(const NaturalText& text, size_t begin, int64_t tokens,
                     const Tokenizer& tokenizer);

}  // namespace mechsweep
