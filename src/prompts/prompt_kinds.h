#pragma once

#include <memory>
#include <string>

#include "prompts/prompt_table.h"

namespace mechsweep {

// The parse function of every kind in prompt_table.cpp; each is defined in the file of its name.
std::unique_ptr<PromptSource> parse_repeated_random(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_ab_noise_a(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_planted_pair(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_multi_token_copy(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_unique_copy(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_reversed_unique_copy(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_abab(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_names(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_natural_repeats(const std::string& id, MapReader& reader);
std::unique_ptr<PromptSource> parse_prompt_file(const std::string& id, MapReader& reader);

}  // namespace mechsweep
