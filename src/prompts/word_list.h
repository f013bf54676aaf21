#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "prompts/prefix.h"
#include "prompts/prompt_table.h"

namespace mechsweep {

/// Words that prompts draw from.
struct WordList {
  std::string path;
  std::vector<std::string> words;  ///< in the order of the file, without white space
};

/// Reads a list: a word a line; blank lines and lines that begin with '#' are passed over. Throws
/// Error{input} naming file and line when it cannot be read, is no UTF-8, has no word, a word with
/// white space in it, or a word twice.
WordList read_word_list(const std::string& path);

/// The token of every word for the context's model, as it is written after a space, in the order of
/// the list; -1 for a word that has no token of its own (one token, not special, not the prefix,
/// not that of an earlier word) for every model of `context.compared`. So the same words are left
/// for all of them. Throws Error{usage} when a model has no tokenizer, or fewer than `needed` words
/// are left; then it counts and names what is lost, by model, and `way_out` says what to do.
std::vector<int32_t> word_tokens(const std::string& set_id, const WordList& list, int64_t needed,
                                 const Prefix& prefix, const PromptContext& context,
                                 const std::string& way_out);

}  // namespace mechsweep
