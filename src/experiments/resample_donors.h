#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/experiment.h"

namespace mechsweep {

/// Whose value `resample` takes: for every prompt and draw, another prompt of the run's set with as
/// many tokens, drawn evenly from RandomStream(seed, "resample/RUN/PROMPT", draw). Draws are
/// independent, so two of them may give the same donor.
class ResampleDonors {
 public:
  explicit ResampleDonors(const RunContext& context);

  /// Index of the donor. Throws Error{input} naming the prompt when no other is as long.
  [[nodiscard]] int32_t donor(int64_t prompt, int64_t draw) const;
  /// Throws what donor() would, for the first prompt without any.
  void check() const;

 private:
  const PromptSet* prompts_;
  uint64_t seed_;
  std::string run_id_;
  std::vector<int32_t> group_;                ///< per prompt, an index into groups_
  std::vector<std::vector<int32_t>> groups_;  ///< prompts of one length, ascending
  std::vector<uint32_t> place_;               ///< of a prompt in its group
};

}  // namespace mechsweep
