#include "prompts/prompt_table.h"

#include <array>

#include "prompts/prompt_kinds.h"

namespace mechsweep {

std::span<const PromptKind> prompt_table() {
  static constexpr std::array<PromptKind, 3> kTable{{
      {"repeated_random", "distinct random tokens, repeated: every token after is predictable",
       parse_repeated_random},
      {"ab_noise_a", "two letters A B, random noise, A again: the answer is B", parse_ab_noise_a},
      {"file", "prompts from a JSON Lines file, as token ids or text", parse_prompt_file},
  }};
  return kTable;
}

}  // namespace mechsweep
