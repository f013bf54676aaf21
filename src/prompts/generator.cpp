#include "prompts/generator.h"

#include <algorithm>

namespace mechsweep {

std::vector<int32_t> ordinary_tokens(const PromptContext& context,
                                     const std::vector<int32_t>& prefix) {
  std::vector<int32_t> left_out = prefix;
  int32_t end = context.vocab_size;
  if (context.tokenizer) {
    const auto& special = context.tokenizer->special_tokens();
    left_out.insert(left_out.end(), special.begin(), special.end());
    end = std::min(end, context.tokenizer->vocab_size());
  } else {
    left_out.push_back(context.bos_token);
  }
  std::sort(left_out.begin(), left_out.end());
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < end; ++id)
    if (!std::binary_search(left_out.begin(), left_out.end(), id)) ids.push_back(id);
  return ids;
}

void check_generated_length(const std::string& set_id, int64_t length,
                            const PromptContext& context) {
  if (length > context.max_positions)
    fail(ErrorKind::usage,
         "prompts '{}': each prompt would have {} tokens, prefix included, but the model takes at "
         "most {}; make it shorter",
         set_id, length, context.max_positions);
}

}  // namespace mechsweep
