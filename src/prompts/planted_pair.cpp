#include <algorithm>
#include <utility>

#include "core/random.h"
#include "prompts/generator.h"
#include "prompts/prefix.h"
#include "prompts/prompt_kinds.h"

namespace mechsweep {

namespace {

constexpr int64_t kDefaultLength = 64;
/// A random token, A, B, a random token, A, B.
constexpr int64_t kShortest = 6;

/// prefix, then `length` tokens: random ones, A B, random ones, A B, random ones or none. All are
/// distinct but for the second A and B. At least one random token stands before each pair, so that
/// B is never the token before the second A, where previous-token heads look; all places that this
/// leaves to the two pairs are equally likely. The target is the answer B at the second A.
class PlantedPair final : public PromptSource {
 public:
  PlantedPair(std::string id, MapReader& reader)
      : id_(std::move(id)),
        count_(reader.integer("count", 1, kMaxGeneratedPrompts)),
        length_(reader.integer_or("length", kDefaultLength, kShortest, kMaxGeneratedTokens)),
        prefix_(require_prefix(reader)) {}

  [[nodiscard]] Json parameters(const PromptContext& /*context*/) const override {
    return {{"count", count_}, {"length", length_}, {"prefix", prefix_.to_json()}};
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::vector<int32_t> prefix = prefix_tokens(prefix_, context);
    check_generated_length(id_, static_cast<int64_t>(prefix.size()) + length_, context);
    const std::vector<int32_t> pool = ordinary_tokens(context, prefix);
    check_enough_tokens(id_, length_ - 2, pool.size(), "make length smaller");
    std::vector<Prompt> prompts;
    for (int64_t i = 0; i < count_; ++i) prompts.push_back(make_one(i, prefix, pool, context.seed));
    return prompts;
  }

 private:
  [[nodiscard]] Prompt make_one(int64_t index, const std::vector<int32_t>& prefix,
                                const std::vector<int32_t>& pool, uint64_t seed) const {
    RandomStream random(seed, "prompts/" + id_, static_cast<uint64_t>(index));
    // Two places a < b of length - 4 stand for the pairs at 1 + a and 3 + b: each pair of places is
    // one way to have a random token before A B, and one between the two.
    auto places = random.sample_without_replacement(static_cast<uint32_t>(length_ - 4), 2);
    std::sort(places.begin(), places.end());
    const auto first = static_cast<int32_t>(prefix.size() + 1 + places[0]);
    const auto second = static_cast<int32_t>(prefix.size() + 3 + places[1]);
    auto drawn = random.sample_without_replacement(static_cast<uint32_t>(pool.size()),
                                                   static_cast<uint32_t>(length_ - 2));
    Prompt prompt = begin_prompt(index, prefix);
    for (const uint32_t place : drawn) prompt.tokens.push_back(pool[place]);
    prompt.tokens.insert(prompt.tokens.begin() + second,
                         {prompt.tokens[first], prompt.tokens[first + 1]});
    prompt.targets = {{second, prompt.tokens[first + 1], {}}};
    prompt.spans = {{"a_first", {first, first + 1}},
                    {"b_first", {first + 1, first + 2}},
                    {"a_second", {second, second + 1}},
                    {"b_second", {second + 1, second + 2}}};
    prompt.pairs = {{"duplicate", {{second + 1, first + 1}}},
                    {"duplicate_a", {{second, first}}},
                    {"induction", {{second, first + 1}}}};
    return prompt;
  }

  std::string id_;
  int64_t count_;
  int64_t length_;
  Prefix prefix_;
};

}  // namespace

std::unique_ptr<PromptSource> parse_planted_pair(const std::string& id, MapReader& reader) {
  return std::make_unique<PlantedPair>(id, reader);
}

}  // namespace mechsweep
