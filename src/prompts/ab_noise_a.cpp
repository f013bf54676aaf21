#include <utility>

#include "core/random.h"
#include "prompts/generator.h"
#include "prompts/prefix.h"
#include "prompts/prompt_kinds.h"
#include "prompts/token_pool.h"

namespace mechsweep {

namespace {

/// prefix, A, B, noise..., A: the answer at the last position is B. A and B are distinct random
/// letters; noise is drawn with replacement, never A or B, from the other letters or from the
/// vocabulary. The corrupt partner has a third letter C in B's place and is the same otherwise, so
/// that the clean targets ask of it how far it still says B. Wrong answers: with letters as noise
/// every letter but B, with vocabulary noise C alone. Spans: a_first, b, noise, a_second. Pairs of
/// the second A: duplicate (the first A) and source (B); with letters as noise the built-in scores
/// average over repeated noise, too.
class AbNoiseA final : public PromptSource {
 public:
  AbNoiseA(std::string id, MapReader& reader)
      : id_(std::move(id)),
        count_(reader.integer("count", 1, kMaxGeneratedPrompts)),
        noise_(reader.integer("noise", 0, kMaxGeneratedTokens)),
        noise_pool_(reader.choice_or("noise_pool", "letters", {"letters", "vocabulary"})),
        letter_form_(reader.choice_or("letter_form", " A", {"A", " A"})),
        prefix_(require_prefix(reader)) {}

  [[nodiscard]] Json parameters(const PromptContext& /*context*/) const override {
    return {{"count", count_},
            {"noise", noise_},
            {"noise_pool", noise_pool_},
            {"letter_form", letter_form_},
            {"prefix", prefix_.to_json()}};
  }

  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const override {
    const std::vector<int32_t> prefix = prefix_tokens(prefix_, context);
    const std::vector<int32_t> letters = letter_tokens(id_, letter_form_, context);
    check_generated_length(id_, static_cast<int64_t>(prefix.size()) + 3 + noise_, context);
    const std::vector<int32_t> pool = from_letters() ? letters : ordinary_tokens(context, prefix);
    std::vector<Prompt> prompts;
    for (int64_t i = 0; i < count_; ++i)
      prompts.push_back(make_one(i, prefix, letters, pool, context.seed));
    return prompts;
  }

 private:
  [[nodiscard]] bool from_letters() const { return noise_pool_ == "letters"; }

  [[nodiscard]] Prompt make_one(int64_t index, const std::vector<int32_t>& prefix,
                                const std::vector<int32_t>& letters,
                                const std::vector<int32_t>& pool, uint64_t seed) const {
    RandomStream random(seed, "prompts/" + id_, static_cast<uint64_t>(index));
    const auto drawn = random.sample_without_replacement(static_cast<uint32_t>(letters.size()), 3);
    const int32_t a = letters[drawn[0]];
    const int32_t b = letters[drawn[1]];
    const int32_t c = letters[drawn[2]];
    Prompt prompt = begin_prompt(index, prefix);
    prompt.tokens.insert(prompt.tokens.end(), {a, b});
    for (int64_t i = 0; i < noise_; ++i) prompt.tokens.push_back(noise_token(random, pool, a, b));
    prompt.tokens.push_back(a);

    const int32_t first = prompt.prefix_length;
    const auto last = static_cast<int32_t>(prompt.tokens.size()) - 1;
    prompt.corrupt_tokens = prompt.tokens;
    prompt.corrupt_tokens[first + 1] = c;
    prompt.spans = {{"a_first", {first, first + 1}},
                    {"b", {first + 1, first + 2}},
                    {"a_second", {last, last + 1}}};
    if (noise_ > 0) prompt.spans["noise"] = {first + 2, last};
    prompt.pairs = {{"duplicate", {{last, first}}}, {"source", {{last, first + 1}}}};

    Target target{last, b, {}};
    if (from_letters()) {
      for (const int32_t letter : letters)
        if (letter != b) target.wrong.push_back(letter);
    } else {
      target.wrong.push_back(c);
    }
    prompt.targets.push_back(std::move(target));
    return prompt;
  }

  /// Uniform over the pool without A and B, by rejection.
  static int32_t noise_token(RandomStream& random, const std::vector<int32_t>& pool, int32_t a,
                             int32_t b) {
    for (;;) {
      const int32_t token = pool[random.below(static_cast<uint32_t>(pool.size()))];
      if (token != a && token != b) return token;
    }
  }

  std::string id_;
  int64_t count_;
  int64_t noise_;
  std::string noise_pool_;
  std::string letter_form_;
  Prefix prefix_;
};

}  // namespace

std::unique_ptr<PromptSource> parse_ab_noise_a(const std::string& id, MapReader& reader) {
  return std::make_unique<AbNoiseA>(id, reader);
}

}  // namespace mechsweep
