#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/array_spec.h"

namespace mechsweep {

/// The array of a run. Throws Error{input} when it is missing.
const StoredArray& stored_array(const StoredRun& run, const std::string& name);

/// One group of readings ("", "base/" or "donor/") of a stored effect run; the run outlives it.
struct StoredReadings {
  std::vector<Axis> axes;  ///< after the prompt, the target axis (if any) included
  int64_t cells = 0;       ///< values per prompt
  int64_t tracked = 0;
  const StoredArray* loss = nullptr;
  const StoredArray* logit = nullptr;
  const StoredArray* top1 = nullptr;
  const StoredArray* answer_rank = nullptr;  ///< null: not stored
  const StoredArray* kl_base = nullptr;      ///< null: not stored
  const StoredArray* kl_donor = nullptr;     ///< null: not stored

  /// Answer logit minus the largest wrong one; NaN without any. `i` = prompt * cells + cell.
  [[nodiscard]] double margin(int64_t i) const;
  /// -log softmax of the answer, over the tracked tokens only.
  [[nodiscard]] double loss_among_tracked(int64_t i) const;
};
/// Throws Error{input} when datasets are missing or their sizes do not go together.
StoredReadings stored_readings(const StoredRun& run, const std::string& prefix);
/// Throws Error{input} when two groups of a run differ in targets or tracked tokens; `base` are
/// those of [prompt, target].
void check_same_shape(const StoredRun& run, const StoredReadings& base,
                      const StoredReadings& other);

/// Tells numbers that should be there and are not finite from places that do not apply: a prompt
/// has no such target, a target no such wrong answer, the position is past the prompt's end, or a
/// decision left the place out.
class Applicability {
 public:
  Applicability(const StoredRun& run, const StoredReadings& base);

  /// Whether the file says what the answers are.
  [[nodiscard]] bool has_answers() const { return tokens_ != nullptr; }
  /// The answer of the cell's target, a token id; only where has_answers().
  [[nodiscard]] double answer(int64_t prompt, int64_t cell) const {
    return tokens_->values[(prompt * targets_ + cell % targets_) * tracked_];
  }
  /// A tracked token of the cell's target is there, and the cell's position is in the prompt.
  [[nodiscard]] bool applies(const StoredReadings& readings, int64_t prompt, int64_t cell,
                             int64_t token = 0) const;
  [[nodiscard]] bool broken_loss(const StoredReadings& readings, int64_t prompt,
                                 int64_t cell) const;
  [[nodiscard]] bool broken_logit(const StoredReadings& readings, int64_t prompt, int64_t cell,
                                  int64_t token) const;
  /// Only of targets with wrong answers: others have no margin.
  [[nodiscard]] bool broken_margin(const StoredReadings& readings, int64_t prompt,
                                   int64_t cell) const;

 private:
  [[nodiscard]] bool in_prompt(const StoredReadings& readings, int64_t prompt, int64_t cell) const;
  [[nodiscard]] bool left_out(const StoredReadings& readings, int64_t prompt, int64_t cell) const;

  const StoredRun& run_;
  const StoredArray* tokens_ = nullptr;  ///< null: nothing can be told
  int64_t targets_;
  int64_t tracked_;
};

}  // namespace mechsweep
