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

void check_enough_tokens(const std::string& set_id, int64_t needed, size_t available,
                         std::string_view way_out) {
  if (needed > static_cast<int64_t>(available))
    fail(ErrorKind::usage,
         "prompts '{}': a prompt needs {} distinct tokens, but there are {} to draw from; {}",
         set_id, needed, available, way_out);
}

Prompt begin_prompt(int64_t index, const std::vector<int32_t>& prefix) {
  Prompt prompt;
  prompt.id = fmt::format("p{}", index);
  prompt.tokens = prefix;
  prompt.prefix_length = static_cast<int32_t>(prefix.size());
  return prompt;
}

Span append_tokens(Prompt& prompt, const std::vector<int32_t>& tokens) {
  const auto begin = static_cast<int32_t>(prompt.tokens.size());
  prompt.tokens.insert(prompt.tokens.end(), tokens.begin(), tokens.end());
  return {begin, static_cast<int32_t>(prompt.tokens.size())};
}

Encoding encode_inside(const Tokenizer& tokenizer, const std::string& text) {
  Encoding alone = tokenizer.encode(text);
  if (alone.ids.size() <= 1) return alone;
  const std::string before = "a";
  const Encoding start = tokenizer.encode(before);
  Encoding inside = tokenizer.encode(before + text);
  const auto skipped = static_cast<std::ptrdiff_t>(start.ids.size());
  const bool is_apart = inside.ids.size() > start.ids.size() &&
                        std::equal(start.ids.begin(), start.ids.end(), inside.ids.begin());
  if (!is_apart || inside.ids.size() - start.ids.size() >= alone.ids.size()) return alone;
  inside.ids.erase(inside.ids.begin(), inside.ids.begin() + skipped);
  inside.bytes.erase(inside.bytes.begin(), inside.bytes.begin() + skipped);
  for (Span& bytes : inside.bytes) {
    bytes.begin -= static_cast<int32_t>(before.size());
    bytes.end -= static_cast<int32_t>(before.size());
  }
  return inside;
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
