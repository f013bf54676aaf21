#pragma once

#include <memory>
#include <string>

#include "prompts/prompt_table.h"

namespace mechsweep {

/// The prompts of abab and names: prefix, then as many distinct words of a list as the lag says,
/// again and again until the prompt has `seq_len` tokens, prefix included; with a lag of 2, A B A B
/// and so on. Every word is one token, written after a space, for every model that the set is made
/// for, and which words are drawn depends on the seed, the set's id, the list and those models:
/// all of them get the same text. Tokens are made word by word.
///
/// Prompt i has the lag i modulo their number in the list: the count is split evenly, and the first
/// lags get one more where it does not divide. Template: `pattern`/lagN. A target stands at every
/// position whose token stands one lag earlier, too, and which a token follows. Spans: first, the
/// distinct words, and repetition, all that follows.
std::unique_ptr<PromptSource> parse_repeated_words(const std::string& id, MapReader& reader,
                                                   const std::string& pattern);

}  // namespace mechsweep
