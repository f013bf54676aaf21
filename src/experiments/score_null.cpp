#include "experiments/score_null.h"

#include <algorithm>

namespace mechsweep {

namespace {

/// The copies that count, with other sources.
std::vector<CopyOperation> counted_copies(const PromptNull& null,
                                          const std::vector<int32_t>* sources) {
  std::vector<CopyOperation> copies;
  for (size_t i = 0; i < null.copies.size(); ++i)
    if (null.counts[i] != 0)
      copies.push_back(
          {null.copies[i].query, sources == nullptr ? null.copies[i].source : (*sources)[i]});
  return copies;
}

/// Whether some lag of `set_lags` is not among the counted ones at all.
bool is_fewer(const std::vector<int64_t>& counted, const std::vector<int64_t>& set_lags) {
  for (size_t lag = 0; lag < set_lags.size(); ++lag)
    if (set_lags[lag] > 0 && counted[lag] == 0) return true;
  return false;
}

}  // namespace

CopyNull::CopyNull(std::string score, const PromptSet& prompts, Occurrence occurrence,
                   const NullOptions& options, uint64_t seed)
    : score_(std::move(score)),
      set_id_(prompts.id),
      offset_(key_offset_of(score_).value_or(0)),
      occurrence_(occurrence),
      options_(options),
      seed_(seed) {
  for (const Prompt& prompt : prompts.prompts) {
    const auto copies = copy_operations(prompt, occurrence_, offset_);
    count_lags(copies, set_lags_);
    most_copies_ = std::max<int64_t>(most_copies_, std::ssize(copies));
  }
  // A lag whose copies never have a null source is not in the score, so it must not be in the null.
  // Without it other copies may lose theirs; the lags only ever become fewer, so this ends.
  for (std::vector<int64_t> counted = counted_lags(prompts); is_fewer(counted, set_lags_);
       counted = counted_lags(prompts))
    for (size_t lag = 0; lag < counted.size(); ++lag)
      if (counted[lag] == 0) set_lags_[lag] = 0;
}

std::vector<int64_t> CopyNull::counted_lags(const PromptSet& prompts) const {
  std::vector<int64_t> lags(set_lags_.size(), 0);
  for (int64_t p = 0; p < std::ssize(prompts.prompts); ++p)
    count_lags(counted_copies(of_prompt(prompts.prompts[p], p), nullptr), lags);
  return lags;
}

std::string CopyNull::purpose() const {
  return "antecedents/" + set_id_ + "/" + score_;
}

PromptNull CopyNull::of_prompt(const Prompt& prompt, int64_t index) const {
  PromptNull null;
  null.copies = copy_operations(prompt, occurrence_, offset_);
  null.counts.assign(null.copies.size(), 1);
  null.origins.assign(lag_origin_names().size(), 0);
  const AntecedentRules rules{.prefix_length = prompt.prefix_length,
                              .key_offset = offset_,
                              .max_shift = options_.max_shift};
  for (int64_t draw = 0; draw < options_.draws; ++draw) {
    auto drawn = match_antecedents(prompt.tokens, null.copies, set_lags_, rules,
                                   {.seed = seed_,
                                    .purpose = purpose(),
                                    .prompt = static_cast<uint32_t>(index),
                                    .draw = static_cast<uint32_t>(draw)});
    for (size_t i = 0; i < null.copies.size(); ++i) {
      if (drawn.sources[i] < 0) null.counts[i] = 0;
      ++null.origins[static_cast<size_t>(drawn.origins[i])];
    }
    null.sources.push_back(std::move(drawn.sources));
  }
  return null;
}

ScoreKeys matched_keys(const PromptNull& null, int32_t offset) {
  return keys_of_copies(counted_copies(null, nullptr), offset);
}

ScoreKeys null_keys(const PromptNull& null, int64_t draw, int32_t offset) {
  return keys_of_copies(counted_copies(null, &null.sources[draw]), offset);
}

const std::vector<std::string>& lag_origin_names() {
  static const std::vector<std::string> kNames = {"shuffled", "drawn", "shifted", "none"};
  return kNames;
}

}  // namespace mechsweep
