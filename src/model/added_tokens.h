#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/byte_trie.h"
#include "model/tokenizer.h"

namespace mechsweep {

/// A token that is found in the text as written, before any splitting into words.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool single_word = false;  ///< not inside a word
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space after it along
  bool normalized = false;   ///< searched in the normalised text, after all that are not
};

/// Text between added tokens, or one of them.
struct Section {
  Span bytes;
  int32_t id = -1;  ///< -1: text
};

/// Finds added tokens: leftmost first, of those that start together the longest.
class AddedTokenFinder {
 public:
  /// Of tokens with the same content the first counts; contents must not be empty.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);
  /// Sections of valid UTF-8, in order, none empty.
  [[nodiscard]] std::vector<Section> split(std::string_view text) const;

 private:
  struct Match {
    const AddedToken* token = nullptr;
    size_t length = 0;
  };
  [[nodiscard]] Match longest_at(std::string_view text, size_t offset) const;

  std::vector<AddedToken> tokens_;
  ByteTrie trie_;  ///< of their contents, to indices into tokens_
};

}  // namespace mechsweep
