#include "prompts/repeated_words.h"

#include <algorithm>
#include <utility>

#include "core/hash.h"
#include "core/random.h"
#include "core/text_file.h"
#include "prompts/generator.h"
#include "prompts/prefix.h"
#include "prompts/word_list.h"

namespace mechsweep {

namespace {

/// The key `lags`: a number or a list of different ones, in the order given.
std::vector<int64_t> read_lags(MapReader& reader) {
  const ConfigNode* node = reader.require("lags");
  if (node == nullptr) return {};
  std::vector<const ConfigNode*> items = {node};
  if (node->kind == ConfigNode::Kind::list) {
    items.clear();
    for (const ConfigNode& item : node->items) items.push_back(&item);
  }
  if (items.empty()) reader.problems().add(*node, "names no lag");
  std::vector<int64_t> lags;
  for (const ConfigNode* item : items) {
    const auto lag = node_integer(*item, reader.problems(), 1, kMaxGeneratedTokens);
    if (!lag) continue;
    if (std::find(lags.begin(), lags.end(), *lag) != lags.end())
      reader.problems().add(*item, fmt::format("names the lag {} twice", *lag));
    lags.push_back(*lag);
  }
  return lags;
}

class RepeatedWords final : public PromptSource {
 public:
  RepeatedWords(std::string id, MapReader& reader, std::string pattern)
      : id_(std::move(id)),
        pattern_(std::move(pattern)),
        count_(reader.integer("count", 1, kMaxGeneratedPrompts)),
        seq_len_(reader.integer("seq_len", 3, kMaxGeneratedTokens)),
        lags_(read_lags(reader)),
        path_(reader.text("path")),
        prefix_(require_prefix(reader)) {
    const ConfigNode* count = reader.get("count");
    if (count != nullptr && count_ < std::ssize(lags_))
      reader.problems().add(*count, fmt::format("must be at least {}, so that every lag of `lags` "
                                                "gets a prompt",
                                                lags_.size()));
  }

  [[nodiscard]] Json parameters(const PromptContext& context) const override {
    const std::string content = read_text_file(full_path(context), ErrorKind::input);
    return {{"count", count_},
            {"seq_len", seq_len_},
            {"lags", lags_},
            {"sha256", sha256_hex(content)},
            {"prefix", prefix_.to_json()}};
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::vector<int32_t> prefix = prefix_tokens(prefix_, context);
    check_generated_length(id_, seq_len_, context);
    const int64_t words = seq_len_ - std::ssize(prefix);
    const int64_t longest = *std::max_element(lags_.begin(), lags_.end());
    if (longest + 2 > words)
      fail(ErrorKind::usage,
           "prompts '{}': a lag of {} needs at least {} words for a target, but seq_len: {} leaves "
           "{} beside the prefix; make seq_len larger, or leave that lag out",
           id_, longest, longest + 2, seq_len_, words);
    const WordList list = read_word_list(full_path(context));
    const std::vector<int32_t> tokens =
        word_tokens(id_, list, longest, prefix_, context,
                    fmt::format("give a longer list, or leave out the lag {}", longest));
    std::vector<Prompt> prompts;
    for (int64_t i = 0; i < count_; ++i)
      prompts.push_back(make_one(i, prefix, list, tokens, context.seed));
    return prompts;
  }

 private:
  [[nodiscard]] std::string full_path(const PromptContext& context) const {
    return resolve_path(context.config_folder, path_);
  }

  [[nodiscard]] Prompt make_one(int64_t index, const std::vector<int32_t>& prefix,
                                const WordList& list, const std::vector<int32_t>& tokens,
                                uint64_t seed) const {
    const int64_t lag = lags_[index % std::ssize(lags_)];
    const std::vector<uint32_t> words = draw(index, lag, tokens, seed);
    Prompt prompt = begin_prompt(index, prefix);
    prompt.template_label = fmt::format("{}/lag{}", pattern_, lag);
    for (int64_t i = 0; std::ssize(prompt.tokens) < seq_len_; ++i) {
      const uint32_t word = words[i % lag];
      prompt.tokens.push_back(tokens[word]);
      prompt.text += " " + list.words[word];
    }
    const auto length = static_cast<int32_t>(seq_len_);
    const auto step = static_cast<int32_t>(lag);
    const int32_t repetition = prompt.prefix_length + step;
    prompt.spans = {{"first", {prompt.prefix_length, repetition}},
                    {"repetition", {repetition, length}}};
    for (int32_t at = repetition; at + 1 < length; ++at)
      prompt.targets.push_back({at, prompt.tokens[at + 1], {}});
    return prompt;
  }

  /// Numbers of distinct words that have a token: the first ones of a random order of the whole
  /// list, so that a word that one model more cannot express changes no prompt without it.
  [[nodiscard]] std::vector<uint32_t> draw(int64_t index, int64_t lag,
                                           const std::vector<int32_t>& tokens,
                                           uint64_t seed) const {
    RandomStream random(seed, "prompts/" + id_, static_cast<uint64_t>(index));
    std::vector<uint32_t> words;
    for (const uint32_t word : random.permutation(static_cast<uint32_t>(tokens.size()))) {
      if (tokens[word] >= 0) words.push_back(word);
      if (std::ssize(words) == lag) break;
    }
    return words;
  }

  std::string id_;
  std::string pattern_;
  int64_t count_;
  int64_t seq_len_;
  std::vector<int64_t> lags_;
  std::string path_;
  Prefix prefix_;
};

}  // namespace

std::unique_ptr<PromptSource> parse_repeated_words(const std::string& id, MapReader& reader,
                                                   const std::string& pattern) {
  return std::make_unique<RepeatedWords>(id, reader, pattern);
}

}  // namespace mechsweep
