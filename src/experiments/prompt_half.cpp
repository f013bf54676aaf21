#include "experiments/prompt_half.h"

#include <algorithm>

#include "core/error.h"
#include "stats/split.h"

namespace mechsweep {

namespace {

std::string purpose_of(const std::string& set_id) {
  return "halves/" + set_id;
}

}  // namespace

const std::vector<std::string>& prompt_half_names() {
  static const std::vector<std::string> kNames = {"all", "half_a", "half_b"};
  return kNames;
}

std::string_view prompt_half_name(PromptHalf half) {
  return prompt_half_names()[static_cast<size_t>(half)];
}

PromptHalf prompt_half_of(const std::string& name) {
  const auto& names = prompt_half_names();
  const auto found = std::find(names.begin(), names.end(), name);
  ensure(found != names.end(), "a half that was checked is gone");
  return static_cast<PromptHalf>(found - names.begin());
}

std::vector<uint8_t> prompts_of_half(PromptHalf half, const PromptSet& prompts, uint64_t seed) {
  std::vector<std::string> templates;
  templates.reserve(prompts.prompts.size());
  for (const Prompt& prompt : prompts.prompts) templates.push_back(prompt.template_label);
  return templates_of_half(half, templates, prompts.id, seed);
}

std::vector<uint8_t> templates_of_half(PromptHalf half, const std::vector<std::string>& templates,
                                       const std::string& set_id, uint64_t seed) {
  std::vector<uint8_t> in_half(templates.size(), 1);
  if (half == PromptHalf::all) return in_half;
  HalfSplit split;
  try {
    split = split_halves(clusters_of(templates), seed, purpose_of(set_id));
  } catch (const Error& error) {
    throw error.within(fmt::format("prompts '{}'", set_id));
  }
  in_half.assign(in_half.size(), 0);
  for (const int64_t prompt : half == PromptHalf::half_a ? split.half_a : split.half_b)
    in_half[prompt] = 1;
  return in_half;
}

std::string halves_definition(const PromptSet& prompts) {
  return fmt::format(
      "templates in the random order of the stream '{}' of the sweep's seed go, one by one, to the "
      "half that has fewer prompts, half_a where equal; a prompt without a template is its own",
      purpose_of(prompts.id));
}

}  // namespace mechsweep
