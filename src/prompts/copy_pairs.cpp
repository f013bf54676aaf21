#include "prompts/copy_pairs.h"

namespace mechsweep {

void add_copy_pairs(Prompt& prompt, int32_t query, int32_t earlier, Span keys, CopyOrder order) {
  const auto add = [&](const char* name, int32_t key) {
    if (key >= keys.begin && key < keys.end && key < query)
      prompt.pairs[name].emplace_back(query, key);
  };
  if (query > prompt.prefix_length) prompt.pairs["previous"].emplace_back(query, query - 1);
  prompt.pairs["duplicate"].emplace_back(query, earlier);
  add("induction", earlier + 1);
  add("anti_induction", earlier - 1);
  add("source", order == CopyOrder::forward ? earlier + 1 : earlier - 1);
}

}  // namespace mechsweep
