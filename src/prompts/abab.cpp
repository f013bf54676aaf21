#include "prompts/prompt_kinds.h"
#include "prompts/repeated_words.h"

namespace mechsweep {

std::unique_ptr<PromptSource> parse_abab(const std::string& id, MapReader& reader) {
  return parse_repeated_words(id, reader, "abab");
}

}  // namespace mechsweep
