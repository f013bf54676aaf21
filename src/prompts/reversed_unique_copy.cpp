#include "prompts/prompt_kinds.h"
#include "prompts/unique_copy_task.h"

namespace mechsweep {

std::unique_ptr<PromptSource> parse_reversed_unique_copy(const std::string& id, MapReader& reader) {
  return parse_copy_task(id, reader, CopyOrder::backward);
}

}  // namespace mechsweep
