#include <algorithm>
#include <map>
#include <utility>

#include "core/hash.h"
#include "core/random.h"
#include "core/text_file.h"
#include "prompts/copy_pairs.h"
#include "prompts/generator.h"
#include "prompts/passages.h"
#include "prompts/prefix.h"
#include "prompts/prompt_kinds.h"

namespace mechsweep {

namespace {

/// Where a passage begins.
struct PassageStart {
  size_t text = 0;  ///< which text of the file
  size_t byte = 0;
};

/// prefix, then a passage of natural text, `tokens` tokens long, `repeats` times over. Passages
/// begin where sentences do, and no two prompts with the same sentence; they may overlap, so the
/// template is the text that they come from. A start counts when the text that follows is long
/// enough for every model that the set is made for, so all of them get the same starts. Each
/// passage is cut after the same number of tokens, which is not the same text for two tokenizers.
///
/// Targets stand after the first passage, as those of repeated_random. A token may occur several
/// times in a passage: pairs (add_copy_pairs) always mean the position one passage earlier. Spans:
/// period_1, period_2, ...
class NaturalRepeats final : public PromptSource {
 public:
  NaturalRepeats(std::string id, MapReader& reader)
      : id_(std::move(id)),
        count_(reader.integer("count", 1, kMaxGeneratedPrompts)),
        tokens_(reader.integer("tokens", 2, kMaxGeneratedTokens)),
        repeats_(reader.integer("repeats", 2, kMaxGeneratedTokens)),
        path_(reader.text("path")),
        prefix_(require_prefix(reader)) {}

  [[nodiscard]] Json parameters(const PromptContext& context) const override {
    const std::string content = read_text_file(full_path(context), ErrorKind::input);
    return {{"count", count_},
            {"tokens", tokens_},
            {"repeats", repeats_},
            {"sha256", sha256_hex(content)},
            {"prefix", prefix_.to_json()}};
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::vector<int32_t> prefix = prefix_tokens(prefix_, context);
    check_generated_length(id_, std::ssize(prefix) + tokens_ * repeats_, context);
    const std::vector<const Tokenizer*> tokenizers = tokenizers_of(context);
    const std::vector<NaturalText> texts = read_natural_texts(full_path(context));
    std::vector<PassageStart> starts;
    for (size_t i = 0; i < texts.size(); ++i)
      for (const size_t byte : texts[i].starts) starts.push_back({i, byte});
    RandomStream random(context.seed, "prompts/" + id_);
    std::vector<Prompt> prompts;
    for (const uint32_t place : random.permutation(static_cast<uint32_t>(starts.size()))) {
      if (std::ssize(prompts) == count_) break;
      const NaturalText& text = texts[starts[place].text];
      const auto passage_for = [&, place = place](const Tokenizer* tokenizer) {
        return passage_from(text, starts[place].byte, tokens_, *tokenizer);
      };
      const bool is_long_enough = std::all_of(
          tokenizers.begin(), tokenizers.end(),
          [&](const Tokenizer* tokenizer) { return !passage_for(tokenizer).tokens.empty(); });
      if (!is_long_enough) continue;
      prompts.push_back(
          make_one(std::ssize(prompts), prefix, text.name, passage_for(context.tokenizer)));
    }
    if (std::ssize(prompts) < count_)
      fail(ErrorKind::usage,
           "prompts '{}': {} has {} sentences, of which {} begin a passage of {} tokens, but {} "
           "are needed; make count or tokens smaller, or give more text",
           id_, full_path(context), starts.size(), prompts.size(), tokens_, count_);
    return prompts;
  }

 private:
  [[nodiscard]] std::string full_path(const PromptContext& context) const {
    return resolve_path(context.config_folder, path_);
  }

  /// The tokenizers of all models that the set is made for, each once.
  [[nodiscard]] std::vector<const Tokenizer*> tokenizers_of(const PromptContext& context) const {
    std::vector<const Tokenizer*> tokenizers;
    const auto add = [&](const std::string& name, const Tokenizer* tokenizer) {
      if (!tokenizer)
        fail(ErrorKind::usage,
             "prompts '{}': {} has no tokenizer, so text cannot be used for it; use "
             "repeated_random or a file of token ids",
             id_, name);
      if (std::find(tokenizers.begin(), tokenizers.end(), tokenizer) == tokenizers.end())
        tokenizers.push_back(tokenizer);
    };
    for (const auto& [model, tokenizer] : context.compared) add("model '" + model + "'", tokenizer);
    add("this model", context.tokenizer);
    return tokenizers;
  }

  [[nodiscard]] Prompt make_one(int64_t index, const std::vector<int32_t>& prefix,
                                const std::string& source, const Passage& passage) const {
    Prompt prompt = begin_prompt(index, prefix);
    prompt.template_label = source;
    for (int64_t repeat = 1; repeat <= repeats_; ++repeat) {
      prompt.spans[fmt::format("period_{}", repeat)] = append_tokens(prompt, passage.tokens);
      prompt.text += passage.text;
    }
    const auto length = static_cast<int32_t>(prompt.tokens.size());
    const auto period = static_cast<int32_t>(tokens_);
    for (int32_t at = prompt.prefix_length + period; at + 1 < length; ++at) {
      prompt.targets.push_back({at, prompt.tokens[at + 1], {}});
      add_copy_pairs(prompt, at, at - period, {prompt.prefix_length, at}, CopyOrder::forward);
    }
    return prompt;
  }

  std::string id_;
  int64_t count_;
  int64_t tokens_;
  int64_t repeats_;
  std::string path_;
  Prefix prefix_;
};

}  // namespace

std::unique_ptr<PromptSource> parse_natural_repeats(const std::string& id, MapReader& reader) {
  return std::make_unique<NaturalRepeats>(id, reader);
}

}  // namespace mechsweep
