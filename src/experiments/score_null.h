#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/score_keys.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// Null sources of one copy score in one prompt.
struct PromptNull {
  std::vector<CopyOperation> copies;
  /// Copies that have a null source in every draw: only these are in the score and in its null.
  std::vector<uint8_t> counts;
  std::vector<std::vector<int32_t>> sources;  ///< [draw][copy], -1 where there is none
  std::vector<int32_t> origins;               ///< by LagOrigin, over copies and draws
};

/// The null of one copy score over a prompt set: the same score at sources that are none, with the
/// lags of the true ones (match_antecedents). Which ones depends on the seed, the prompt set's id,
/// the score, the prompt and the draw, so that models with the same tokens get the same sources.
class CopyNull {
 public:
  CopyNull(std::string score, const PromptSet& prompts, Occurrence occurrence,
           const NullOptions& options, uint64_t seed);

  [[nodiscard]] const std::string& score() const { return score_; }
  [[nodiscard]] int32_t offset() const { return offset_; }
  [[nodiscard]] int64_t draws() const { return options_.draws; }
  /// Copies in the prompt that has most.
  [[nodiscard]] int64_t most_copies() const { return most_copies_; }
  [[nodiscard]] PromptNull of_prompt(const Prompt& prompt, int64_t index) const;
  /// What the random numbers are for.
  [[nodiscard]] std::string purpose() const;

 private:
  /// Lags of the copies that count, given set_lags_.
  [[nodiscard]] std::vector<int64_t> counted_lags(const PromptSet& prompts) const;

  std::string score_;
  std::string set_id_;
  int32_t offset_;
  Occurrence occurrence_;
  NullOptions options_;
  uint64_t seed_;
  std::vector<int64_t> set_lags_;  ///< of those lags whose copies have null sources
  int64_t most_copies_ = 0;
};

/// The copies that count, as a score.
ScoreKeys matched_keys(const PromptNull& null, int32_t offset);
/// The same at the null sources of a draw.
ScoreKeys null_keys(const PromptNull& null, int64_t draw, int32_t offset);

/// Labels of PromptNull::origins, in the order of LagOrigin.
const std::vector<std::string>& lag_origin_names();

}  // namespace mechsweep
