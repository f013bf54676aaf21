#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "prompts/prompt_table.h"

namespace mechsweep {

/// Shared bounds of the generators' parameters; what a model can hold is checked separately.
inline constexpr int64_t kMaxGeneratedPrompts = 10'000'000;
inline constexpr int64_t kMaxGeneratedTokens = 10'000'000;

/// The ids that random prompts draw from, ascending: the vocabulary without special tokens, and
/// without the prefix, so that no content token repeats it. Without a tokenizer only the BOS token
/// is known to be special. Ids beyond the tokenizer's (rows that pad an embedding) are left out.
std::vector<int32_t> ordinary_tokens(const PromptContext& context,
                                     const std::vector<int32_t>& prefix);

/// Throws Error{usage} when a prompt needs more distinct tokens than there are to draw from;
/// `way_out` says what to change.
void check_enough_tokens(const std::string& set_id, int64_t needed, size_t available,
                         std::string_view way_out);

/// A prompt that is called p0, p1, ... after its number and holds its prefix only.
Prompt begin_prompt(int64_t index, const std::vector<int32_t>& prefix);

/// Puts tokens at the end of a prompt and says where they are now.
Span append_tokens(Prompt& prompt, const std::vector<int32_t>& tokens);

/// The tokens of a text as they are inside a longer one: where a tokenizer puts a space of its own
/// before every text (SentencePiece's dummy prefix), without that space. `bytes` refer to `text`.
/// Throws what Tokenizer::encode does.
Encoding encode_inside(const Tokenizer& tokenizer, const std::string& text);

/// Throws Error{usage} when generated prompts of `length` tokens are longer than the model takes;
/// `set_id` names the prompt set.
void check_generated_length(const std::string& set_id, int64_t length,
                            const PromptContext& context);

}  // namespace mechsweep
