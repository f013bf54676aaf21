#include "prompts/unique_copy_task.h"

#include <algorithm>
#include <utility>

#include "core/random.h"
#include "prompts/generator.h"
#include "prompts/prefix.h"
#include "prompts/token_pool.h"

namespace mechsweep {

namespace {

constexpr const char* kSeparator = "separator";
constexpr const char* kExampleSeparator = "example_separator";

/// The separators for one model.
struct Separators {
  int32_t inner = 0;     ///< between the two halves of a part
  int32_t examples = 0;  ///< after an example
};

class CopyTask final : public PromptSource {
 public:
  CopyTask(std::string id, MapReader& reader, CopyOrder order)
      : id_(std::move(id)),
        order_(order),
        count_(reader.integer("count", 1, kMaxGeneratedPrompts)),
        length_(reader.integer("length", 2, kMaxGeneratedTokens)),
        examples_(reader.integer("examples", 0, kMaxGeneratedTokens)) {
    if (const ConfigNode* node = reader.require(kSeparator))
      separator_ = parse_named_token(*node, reader.problems());
    if (examples_ > 0) {
      if (const ConfigNode* node = reader.require(kExampleSeparator))
        example_separator_ = parse_named_token(*node, reader.problems());
    } else if (const ConfigNode* node = reader.get(kExampleSeparator)) {
      reader.problems().add(*node, "stands after examples only; leave it out, or set examples");
    }
    pool_ = read_token_pool(reader);
    prefix_ = require_prefix(reader);
  }

  [[nodiscard]] Json parameters(const PromptContext& /*context*/) const override {
    Json parameters = {{"count", count_},
                       {"length", length_},
                       {"examples", examples_},
                       {kSeparator, separator_.to_json()},
                       {"prefix", prefix_.to_json()}};
    if (examples_ > 0) parameters[kExampleSeparator] = example_separator_.to_json();
    pool_.add_to(parameters);
    return parameters;
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::vector<int32_t> prefix = prefix_tokens(prefix_, context);
    // Both factors are at most 10^7, so nothing overflows.
    const int64_t parts = examples_ + 1;
    check_generated_length(
        id_, static_cast<int64_t>(prefix.size()) + parts * (2 * length_ + 1) + examples_, context);
    const Separators separators = separators_for(context);
    std::vector<int32_t> left_out = {separators.inner};
    if (examples_ > 0) left_out.push_back(separators.examples);
    const std::vector<int32_t> pool = pool_.tokens(id_, context, prefix, left_out);
    check_enough_tokens(id_, parts * length_, pool.size(),
                        "make length or examples smaller, or choose another pool");
    std::vector<Prompt> prompts;
    for (int64_t i = 0; i < count_; ++i)
      prompts.push_back(make_one(i, prefix, pool, separators, context.seed));
    return prompts;
  }

 private:
  [[nodiscard]] Separators separators_for(const PromptContext& context) const {
    Separators separators;
    separators.inner = separator_.token(id_, kSeparator, context);
    if (examples_ == 0) return separators;
    separators.examples = example_separator_.token(id_, kExampleSeparator, context);
    if (separators.examples == separators.inner)
      fail(ErrorKind::usage,
           "prompts '{}': {} and {} are the same token {} for this model; give different ones", id_,
           kSeparator, kExampleSeparator, separators.inner);
    return separators;
  }

  [[nodiscard]] Prompt make_one(int64_t index, const std::vector<int32_t>& prefix,
                                const std::vector<int32_t>& pool, const Separators& separators,
                                uint64_t seed) const {
    RandomStream random(seed, "prompts/" + id_, static_cast<uint64_t>(index));
    const auto drawn = random.sample_without_replacement(
        static_cast<uint32_t>(pool.size()), static_cast<uint32_t>((examples_ + 1) * length_));
    Prompt prompt = begin_prompt(index, prefix);
    for (int64_t part = 0; part <= examples_; ++part) {
      std::vector<int32_t> tokens;
      for (int64_t i = 0; i < length_; ++i) tokens.push_back(pool[drawn[part * length_ + i]]);
      const Span first = append_tokens(prompt, tokens);
      const Span separator = append_tokens(prompt, {separators.inner});
      if (order_ == CopyOrder::backward) std::reverse(tokens.begin(), tokens.end());
      const Span second = append_tokens(prompt, tokens);
      if (part < examples_) {
        append_tokens(prompt, {separators.examples});
      } else {
        prompt.spans = {{"first", first}, {kSeparator, separator}, {"second", second}};
        if (examples_ > 0) prompt.spans["examples"] = {prompt.prefix_length, first.begin};
        ask(prompt, first, second);
      }
    }
    return prompt;
  }

  /// Targets and pairs of the part that counts.
  void ask(Prompt& prompt, Span first, Span second) const {
    for (int32_t at = second.begin; at < second.end; ++at)
      prompt.targets.push_back({at - 1, prompt.tokens[at], {}});
    for (int32_t at = second.begin; at + 1 < second.end; ++at) {
      const int32_t offset = at - second.begin;
      const int32_t earlier =
          order_ == CopyOrder::forward ? first.begin + offset : first.end - 1 - offset;
      add_copy_pairs(prompt, at, earlier, first, order_);
    }
  }

  std::string id_;
  CopyOrder order_;
  int64_t count_;
  int64_t length_;
  int64_t examples_;
  NamedToken separator_;
  NamedToken example_separator_;
  TokenPool pool_;
  Prefix prefix_;
};

}  // namespace

std::unique_ptr<PromptSource> parse_copy_task(const std::string& id, MapReader& reader,
                                              CopyOrder order) {
  return std::make_unique<CopyTask>(id, reader, order);
}

}  // namespace mechsweep
