#include "prompts/token_pool.h"

#include <algorithm>
#include <limits>

#include "core/text_file.h"
#include "prompts/generator.h"

namespace mechsweep {

std::vector<int32_t> letter_tokens(const std::string& set_id, const std::string& form,
                                   const PromptContext& context) {
  if (!context.tokenizer)
    fail(ErrorKind::usage,
         "prompts '{}': the model has no tokenizer, so letters cannot be made; use repeated_random "
         "or a file of token ids",
         set_id);
  std::vector<int32_t> tokens;
  for (char letter = 'A'; letter <= 'Z'; ++letter) {
    std::string text = form;
    text.back() = letter;
    const std::vector<int32_t> ids = encode_inside(*context.tokenizer, text).ids;
    if (ids.size() != 1)
      fail(ErrorKind::usage,
           "prompts '{}': the letter '{}' is {} tokens for this model, not one; try another "
           "letter_form",
           set_id, text, ids.size());
    const auto earlier = std::find(tokens.begin(), tokens.end(), ids[0]);
    if (earlier != tokens.end())
      fail(ErrorKind::usage,
           "prompts '{}': the letters {} and {} written as '{}' are the same token {} for this "
           "model; try another letter_form",
           set_id, static_cast<char>('A' + (earlier - tokens.begin())), letter, form, ids[0]);
    tokens.push_back(ids[0]);
  }
  return tokens;
}

void TokenPool::add_to(Json& parameters) const {
  parameters["pool"] = name;
  if (!letter_form.empty()) parameters["letter_form"] = letter_form;
}

std::vector<int32_t> TokenPool::tokens(const std::string& set_id, const PromptContext& context,
                                       const std::vector<int32_t>& prefix,
                                       const std::vector<int32_t>& left_out) const {
  std::vector<int32_t> all = letter_form.empty() ? ordinary_tokens(context, prefix)
                                                 : letter_tokens(set_id, letter_form, context);
  const auto is_out = [&](int32_t id) {
    return std::find(prefix.begin(), prefix.end(), id) != prefix.end() ||
           std::find(left_out.begin(), left_out.end(), id) != left_out.end();
  };
  all.erase(std::remove_if(all.begin(), all.end(), is_out), all.end());
  return all;
}

TokenPool read_token_pool(MapReader& reader) {
  TokenPool pool{reader.choice_or("pool", "vocabulary", {"vocabulary", "letters"}), ""};
  const std::string form = reader.choice_or("letter_form", " A", {"A", " A"});
  if (pool.name == "letters") {
    pool.letter_form = form;
  } else if (const ConfigNode* given = reader.get("letter_form")) {
    reader.problems().add(*given, "goes with pool: letters only; leave it out");
  }
  return pool;
}

Json NamedToken::to_json() const {
  return text.empty() ? Json(id) : Json(text);
}

int32_t NamedToken::token(const std::string& set_id, const std::string& key,
                          const PromptContext& context) const {
  if (text.empty()) {
    if (id >= context.vocab_size)
      fail(ErrorKind::usage,
           "prompts '{}': {}: {} is not a token of this model, whose ids end at "
           "{}",
           set_id, key, id, context.vocab_size - 1);
    return id;
  }
  if (!context.tokenizer)
    fail(ErrorKind::usage,
         "prompts '{}': {}: the model has no tokenizer, so a text is no token; give a token id",
         set_id, key);
  const std::vector<int32_t> ids = encode_inside(*context.tokenizer, text).ids;
  if (ids.size() != 1)
    fail(ErrorKind::usage,
         "prompts '{}': {}: '{}' is {} tokens for this model, not one; give another text, or a "
         "token id",
         set_id, key, fit_for_message(text, 100), ids.size());
  return ids[0];
}

NamedToken parse_named_token(const ConfigNode& node, Problems& problems) {
  if (node.kind == ConfigNode::Kind::scalar && !node.scalar.empty()) {
    Problems not_an_id;
    const auto id = node_integer(node, not_an_id, 0, std::numeric_limits<int32_t>::max());
    if (id) return {"", static_cast<int32_t>(*id)};
    if (node.quoted || !node_number(node, not_an_id, -1e300, 1e300)) return {node.scalar, 0};
  }
  problems.add(node, "must be a text or a token id of at least 0");
  return {};
}

}  // namespace mechsweep
