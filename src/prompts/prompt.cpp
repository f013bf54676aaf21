#include "prompts/prompt.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/hash.h"

namespace mechsweep {

namespace {

Json targets_to_json(const std::vector<Target>& targets) {
  Json list = Json::array();
  for (const Target& target : targets) {
    Json entry = {{"at", target.at}, {"answer", target.answer}};
    if (!target.wrong.empty()) entry["wrong"] = target.wrong;
    list.push_back(std::move(entry));
  }
  return list;
}

/// The checks of one prompt; every message starts with the field at fault.
class Checker {
 public:
  Checker(const Prompt& prompt, int vocab_size)
      : prompt_(prompt), length_(static_cast<int32_t>(prompt.tokens.size())), vocab_(vocab_size) {}

  void tokens(std::string_view field, const std::vector<int32_t>& ids) const {
    for (size_t i = 0; i < ids.size(); ++i) token(fmt::format("{}[{}]", field, i), ids[i]);
  }

  void targets(std::string_view field, const std::vector<Target>& targets) const {
    for (size_t i = 0; i < targets.size(); ++i) {
      const Target& target = targets[i];
      const std::string name = fmt::format("{}[{}]", field, i);
      if (target.at < 0 || target.at >= length_)
        fail(ErrorKind::input, "{}.at: position {} is outside the prompt of {} tokens", name,
             target.at, length_);
      if (i > 0 && target.at < targets[i - 1].at)
        fail(ErrorKind::input, "{}.at: targets must be in ascending order of position", name);
      token(name + ".answer", target.answer);
      tokens(name + ".wrong", target.wrong);
      std::set<int32_t> tracked{target.answer};
      for (const int32_t wrong : target.wrong)
        if (!tracked.insert(wrong).second)
          fail(ErrorKind::input, "{}.wrong: token {} is tracked twice", name, wrong);
    }
  }

  void spans() const {
    for (const auto& [name, span] : prompt_.spans)
      if (span.begin < 0 || span.begin >= span.end || span.end > length_)
        fail(ErrorKind::input,
             "spans.{}: [{}, {}] is not a range of tokens of this prompt, which has {}", name,
             span.begin, span.end, length_);
  }

  void pairs() const {
    for (const auto& [name, pairs] : prompt_.pairs)
      for (const auto& [query, key] : pairs)
        if (key < 0 || key > query || query >= length_)
          fail(ErrorKind::input,
               "pairs.{}: [{}, {}] is not a query and a key at or before it in this prompt of {} "
               "tokens",
               name, query, key, length_);
  }

 private:
  void token(std::string_view field, int32_t id) const {
    if (id < 0 || id >= vocab_)
      fail(ErrorKind::input, "{}: {} is not a token of this model, whose ids are 0 to {}", field,
           id, vocab_ - 1);
  }

  const Prompt& prompt_;
  int32_t length_;
  int vocab_;
};

}  // namespace

Json prompt_to_json(const Prompt& prompt) {
  Json line = {{"id", prompt.id}, {"tokens", prompt.tokens}};
  if (!prompt.corrupt_tokens.empty()) line["corrupt_tokens"] = prompt.corrupt_tokens;
  if (!prompt.targets.empty()) line["targets"] = targets_to_json(prompt.targets);
  if (!prompt.corrupt_targets.empty())
    line["corrupt_targets"] = targets_to_json(prompt.corrupt_targets);
  for (const auto& [name, span] : prompt.spans) line["spans"][name] = {span.begin, span.end};
  for (const auto& [name, pairs] : prompt.pairs) line["pairs"][name] = pairs;
  if (!prompt.template_label.empty()) line["template"] = prompt.template_label;
  if (!prompt.text.empty()) line["text"] = prompt.text;
  if (!prompt.corrupt_text.empty()) line["corrupt_text"] = prompt.corrupt_text;
  if (prompt.prefix_length > 0) line["prefix_length"] = prompt.prefix_length;
  return line;
}

std::string prompt_set_hash(const PromptSet& set) {
  Sha256 hash;
  for (const Prompt& prompt : set.prompts) {
    hash.update(prompt_to_json(prompt).dump());
    hash.update("\n");
  }
  return hash.hex_digest();
}

void check_prompt(const Prompt& prompt, int vocab_size, int max_positions) {
  try {
    const size_t length = prompt.tokens.size();
    if (length == 0) fail(ErrorKind::input, "tokens: the prompt is empty");
    if (static_cast<int64_t>(length) > max_positions)
      fail(ErrorKind::input, "tokens: the prompt has {} tokens, but the model takes at most {}",
           length, max_positions);
    if (!prompt.corrupt_tokens.empty() && prompt.corrupt_tokens.size() != length)
      fail(ErrorKind::input,
           "corrupt_tokens: the corrupt prompt has {} tokens and the clean one {}; they must be "
           "equally long",
           prompt.corrupt_tokens.size(), length);
    if (prompt.prefix_length < 0 || static_cast<size_t>(prompt.prefix_length) > length)
      fail(ErrorKind::input, "prefix_length: {} is not a number of leading tokens of this prompt",
           prompt.prefix_length);
    const Checker check(prompt, vocab_size);
    check.tokens("tokens", prompt.tokens);
    check.tokens("corrupt_tokens", prompt.corrupt_tokens);
    check.targets("targets", prompt.targets);
    check.targets("corrupt_targets", prompt.corrupt_targets);
    check.spans();
    check.pairs();
  } catch (const Error& error) {
    throw error.within(fmt::format("prompt '{}'", prompt.id));
  }
}

}  // namespace mechsweep
