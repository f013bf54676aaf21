#pragma once

#include <cstdint>
#include <string>
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

/// Throws Error{usage} when generated prompts of `length` tokens are longer than the model takes;
/// `set_id` names the prompt set.
void check_generated_length(const std::string& set_id, int64_t length,
                            const PromptContext& context);

}  // namespace mechsweep
