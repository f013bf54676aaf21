#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "experiments/score_keys.h"
#include "experiments/score_null.h"

namespace mechsweep {

/// How an array is made of the numbers of its slots, [slot, layer, head] for each prompt.
enum class ScoreLayout {
  by_head,     ///< [layer, head, slot]; [layer, head] where there is one slot only
  by_layer,    ///< [layer, slot], means over heads
  slot_layer,  ///< [slot, layer], means over heads
  slot_head,   ///< [slot, layer, head], float32
  slot_mean,   ///< [layer, head], means over slots
  table,       ///< whole numbers that come from the prompts alone
};

/// An array of a run and where its numbers come from.
struct ScoreArray {
  ArraySpec spec;
  ScoreLayout layout = ScoreLayout::by_head;
  int64_t first = 0;  ///< slot, or table
  int64_t slots = 1;
};

/// What is asked about one prompt: the keys of every slot, and its tables.
struct PromptScores {
  std::vector<ScoreKeys> slots;
  std::vector<std::vector<int32_t>> tables;
};

/// All scores of a run. A slot is one number for every head: a score, an offset of it, a lag, a
/// query position or a draw of null sources.
class ScoreSlots {
 public:
  /// The context's model and prompts outlive this. Throws Error{usage} for a score that is neither
  /// built in nor any prompt's pairs, Error{input} for prompts without one lag on a diagonal.
  ScoreSlots(const RunContext& context, ScoreOptions options);

  [[nodiscard]] const std::vector<ScoreArray>& arrays() const { return arrays_; }
  [[nodiscard]] PromptScores of_prompt(int64_t index) const;
  [[nodiscard]] const ScoreOptions& options() const { return options_; }

 private:
  void add_named();
  void add_lags();
  void add_positions();
  void add_nulls();
  void add_null(const CopyNull& null);
  void append_null(const CopyNull& null, const Prompt& prompt, int64_t index,
                   PromptScores& result) const;
  void add(ArraySpec spec, ScoreLayout layout, int64_t slots);
  [[nodiscard]] ScoreKeys keys_of(const Prompt& prompt, const std::string& name) const;
  [[nodiscard]] ScoreKeys copy_keys(const Prompt& prompt, int32_t offset, LagRange lags = {}) const;
  [[nodiscard]] std::vector<LagRange> lag_ranges() const;

  RunContext context_;
  ScoreOptions options_;
  std::vector<ScoreArray> arrays_;
  std::vector<CopyNull> nulls_;
  std::vector<Axis> heads_axes_;  ///< prompt, layer, head
  int64_t longest_ = 0;           ///< tokens of the longest prompt
  int64_t most_copies_ = 1;       ///< in any prompt and null
  int64_t slots_ = 0;
  int64_t tables_ = 0;
};

}  // namespace mechsweep
