#include "prompts/prompt_table.h"

#include <array>

#include "prompts/prompt_kinds.h"

namespace mechsweep {

std::span<const PromptKind> prompt_table() {
  static constexpr std::array<PromptKind, 10> kTable{{
      {"repeated_random", "distinct random tokens, repeated: every token after is predictable",
       parse_repeated_random},
      {"ab_noise_a", "two letters A B, random noise, A again: the answer is B", parse_ab_noise_a},
      {"planted_pair", "random tokens with one pair A B planted twice: the answer is B",
       parse_planted_pair},
      {"multi_token_copy", "random tokens, a unit of several among them, begun again at the end",
       parse_multi_token_copy},
      {"unique_copy", "distinct tokens, a separator, the same again, after examples or none",
       parse_unique_copy},
      {"reversed_unique_copy", "distinct tokens, a separator, the same backwards",
       parse_reversed_unique_copy},
      {"abab", "words of a list, repeated at a lag: the same text for every model", parse_abab},
      {"names", "first names of a list, repeated at a lag: the same text for every model",
       parse_names},
      {"natural_repeats", "passages of a text file, repeated word for word", parse_natural_repeats},
      {"file", "prompts from a JSON Lines file, as token ids or text", parse_prompt_file},
  }};
  return kTable;
}

}  // namespace mechsweep
