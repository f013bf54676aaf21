#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "prompts/prompt.h"

namespace mechsweep {

/// Which prompts of a set are meant: all, or one of two halves that keep templates whole.
enum class PromptHalf { all, half_a, half_b };

const std::vector<std::string>& prompt_half_names();  ///< in the enum's order
std::string_view prompt_half_name(PromptHalf half);
/// From one of prompt_half_names().
PromptHalf prompt_half_of(const std::string& name);

/// Per prompt 1 where it belongs to the half. The split is the same for every experiment of a sweep
/// on a prompt set: split_halves() with the sweep's seed and the purpose "halves/SET". Throws
/// Error{input} naming the set when it has too few templates for halves.
std::vector<uint8_t> prompts_of_half(PromptHalf half, const PromptSet& prompts, uint64_t seed);

/// The same from what a results file says of the set `set_id`: the template of every prompt.
std::vector<uint8_t> templates_of_half(PromptHalf half, const std::vector<std::string>& templates,
                                       const std::string& set_id, uint64_t seed);

/// How a run's attributes define the halves.
std::string halves_definition(const PromptSet& prompts);

}  // namespace mechsweep
