#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "model/tokenizer.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// What a line of a prompt file is read with.
struct PromptLineOptions {
  const Tokenizer* tokenizer = nullptr;        ///< null: ids only
  std::optional<std::vector<int32_t>> prefix;  ///< before texts; nothing: the tokenizer's own
  std::string align;                           ///< "none", "first" or "last"
  std::string default_id;                      ///< of a line without `id`
};

/// Parses one line as JSON. Throws Error{input} when it is not one JSON object, or gives a key of
/// any object twice.
Json parse_prompt_json(std::string_view line);

/// One prompt from its JSON object (docs/prompt-files.md). Positions are resolved to count from 0,
/// tracked strings to the first of their tokens, span texts to token ranges. What depends on the
/// model's sizes is left to check_prompt. Throws Error{input} that starts with the field at fault,
/// Error{usage} when the config's `prefix` or `align` does not go with the prompt.
Prompt prompt_from_json(const Json& line, const PromptLineOptions& options);

}  // namespace mechsweep
