#include <utility>

#include "core/random.h"
#include "prompts/generator.h"
#include "prompts/prefix.h"
#include "prompts/prompt_kinds.h"

namespace mechsweep {

namespace {

/// prefix, then `period` distinct random tokens `repeats` times over (the data of Olsson et al.
/// 2022, "In-context learning and induction heads"). Tokens are drawn without replacement, so
/// that the earlier occurrence of every token is unambiguous. Every position after the first
/// period is a target whose answer is the token that follows it, except the last position, which
/// nothing follows; with `targets: last` only the last of these is. Spans period_1, period_2, ...
/// name the periods.
class RepeatedRandom final : public PromptSource {
 public:
  RepeatedRandom(std::string id, MapReader& reader)
      : id_(std::move(id)),
        count_(reader.integer("count", 1, kMaxGeneratedPrompts)),
        period_(reader.integer("period", 2, kMaxGeneratedTokens)),
        repeats_(reader.integer("repeats", 2, kMaxGeneratedTokens)),
        prefix_(require_prefix(reader)),
        targets_(reader.choice_or("targets", "each", {"each", "last"})) {}

  [[nodiscard]] Json parameters(const PromptContext& /*context*/) const override {
    return {{"count", count_},
            {"period", period_},
            {"repeats", repeats_},
            {"prefix", prefix_.to_json()},
            {"targets", targets_}};
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::vector<int32_t> prefix = prefix_tokens(prefix_, context);
    check_generated_length(id_, static_cast<int64_t>(prefix.size()) + period_ * repeats_, context);
    const std::vector<int32_t> pool = ordinary_tokens(context, prefix);
    if (period_ > static_cast<int64_t>(pool.size()))
      fail(ErrorKind::usage,
           "prompts '{}': a period of {} distinct tokens needs more than the {} ordinary tokens "
           "of the model; make it shorter",
           id_, period_, pool.size());
    std::vector<Prompt> prompts;
    for (int64_t i = 0; i < count_; ++i) prompts.push_back(make_one(i, prefix, pool, context.seed));
    return prompts;
  }

 private:
  [[nodiscard]] Prompt make_one(int64_t index, const std::vector<int32_t>& prefix,
                                const std::vector<int32_t>& pool, uint64_t seed) const {
    RandomStream random(seed, "prompts/" + id_, static_cast<uint64_t>(index));
    const auto drawn = random.sample_without_replacement(static_cast<uint32_t>(pool.size()),
                                                         static_cast<uint32_t>(period_));
    Prompt prompt = begin_prompt(index, prefix);
    for (int64_t repeat = 1; repeat <= repeats_; ++repeat) {
      const auto begin = static_cast<int32_t>(prompt.tokens.size());
      for (const uint32_t place : drawn) prompt.tokens.push_back(pool[place]);
      prompt.spans[fmt::format("period_{}", repeat)] = {begin,
                                                        static_cast<int32_t>(prompt.tokens.size())};
    }
    const auto length = static_cast<int32_t>(prompt.tokens.size());
    const auto first =
        targets_ == "last" ? length - 2 : prompt.prefix_length + static_cast<int32_t>(period_);
    for (auto at = first; at + 1 < length; ++at)
      prompt.targets.push_back({at, prompt.tokens[at + 1], {}});
    return prompt;
  }

  std::string id_;
  int64_t count_;
  int64_t period_;
  int64_t repeats_;
  Prefix prefix_;
  std::string targets_;  ///< each or last
};

}  // namespace

std::unique_ptr<PromptSource> parse_repeated_random(const std::string& id, MapReader& reader) {
  return std::make_unique<RepeatedRandom>(id, reader);
}

}  // namespace mechsweep
