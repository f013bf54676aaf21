#include <utility>

#include "core/random.h"
#include "prompts/copy_pairs.h"
#include "prompts/generator.h"
#include "prompts/prefix.h"
#include "prompts/prompt_kinds.h"
#include "prompts/token_pool.h"

namespace mechsweep {

namespace {

/// prefix, then `units` times noise and a unit of several tokens, noise once more, and one of the
/// units, drawn, without its last token: its second to last tokens are the answers at the last
/// positions, each read after the true ones before it. Noise is `noise` tokens each time. All
/// tokens are distinct but for the copy. The corrupt partner has other tokens in place of the unit
/// that is begun again, and is the same otherwise. Spans: unit, copy; pairs as of add_copy_pairs,
/// with keys in the unit.
class MultiTokenCopy final : public PromptSource {
 public:
  MultiTokenCopy(std::string id, MapReader& reader)
      : id_(std::move(id)),
        count_(reader.integer("count", 1, kMaxGeneratedPrompts)),
        unit_(reader.integer("unit", 2, kMaxGeneratedTokens)),
        units_(reader.integer_or("units", 1, 1, kMaxGeneratedTokens)),
        noise_(reader.integer("noise", 0, kMaxGeneratedTokens)),
        pool_(read_token_pool(reader)),
        prefix_(require_prefix(reader)) {}

  [[nodiscard]] Json parameters(const PromptContext& /*context*/) const override {
    Json parameters = {{"count", count_},
                       {"unit", unit_},
                       {"units", units_},
                       {"noise", noise_},
                       {"prefix", prefix_.to_json()}};
    pool_.add_to(parameters);
    return parameters;
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::vector<int32_t> prefix = prefix_tokens(prefix_, context);
    const int64_t distinct = units_ * (noise_ + unit_) + noise_;
    check_generated_length(id_, static_cast<int64_t>(prefix.size()) + distinct + unit_ - 1,
                           context);
    const std::vector<int32_t> pool = pool_.tokens(id_, context, prefix, {});
    check_enough_tokens(id_, distinct + unit_, pool.size(),
                        "make unit, units or noise smaller, or choose another pool");
    std::vector<Prompt> prompts;
    for (int64_t i = 0; i < count_; ++i) prompts.push_back(make_one(i, prefix, pool, context.seed));
    return prompts;
  }

 private:
  [[nodiscard]] Prompt make_one(int64_t index, const std::vector<int32_t>& prefix,
                                const std::vector<int32_t>& pool, uint64_t seed) const {
    RandomStream random(seed, "prompts/" + id_, static_cast<uint64_t>(index));
    const auto asked = static_cast<int32_t>(random.below(static_cast<uint32_t>(units_)));
    const int64_t distinct = units_ * (noise_ + unit_) + noise_;
    const auto drawn = random.sample_without_replacement(static_cast<uint32_t>(pool.size()),
                                                         static_cast<uint32_t>(distinct + unit_));
    Prompt prompt = begin_prompt(index, prefix);
    for (int64_t i = 0; i < distinct; ++i) prompt.tokens.push_back(pool[drawn[i]]);
    const auto size = static_cast<int32_t>(unit_);
    const auto begin =
        static_cast<int32_t>(prompt.prefix_length + asked * (noise_ + unit_) + noise_);
    const Span unit{begin, begin + size};
    const auto of_unit = prompt.tokens.begin() + begin;
    const Span copy = append_tokens(prompt, {of_unit, of_unit + size - 1});
    prompt.spans = {{"unit", unit}, {"copy", copy}};
    for (int32_t i = 0; i + 1 < size; ++i) {
      prompt.targets.push_back({copy.begin + i, prompt.tokens[begin + i + 1], {}});
      add_copy_pairs(prompt, copy.begin + i, begin + i, unit, CopyOrder::forward);
    }
    prompt.corrupt_tokens = prompt.tokens;
    for (int32_t i = 0; i < size; ++i) prompt.corrupt_tokens[begin + i] = pool[drawn[distinct + i]];
    return prompt;
  }

  std::string id_;
  int64_t count_;
  int64_t unit_;   ///< tokens of a unit
  int64_t units_;  ///< how many are planted
  int64_t noise_;
  TokenPool pool_;
  Prefix prefix_;
};

}  // namespace

std::unique_ptr<PromptSource> parse_multi_token_copy(const std::string& id, MapReader& reader) {
  return std::make_unique<MultiTokenCopy>(id, reader);
}

}  // namespace mechsweep
