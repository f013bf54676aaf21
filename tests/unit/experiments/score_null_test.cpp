#include "experiments/score_null.h"

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

/// The numbers 1..period again and again: every copy has the period as its lag.
Prompt periodic(int32_t period, int32_t tokens) {
  Prompt prompt;
  for (int32_t i = 0; i < tokens; ++i) prompt.tokens.push_back(1 + i % period);
  return prompt;
}

TEST(CopyNull, LagsWithoutNullSourcesAreNotDrawnForOthers) {
  // In A B A B all even lags lead to the query's own token, so nothing is left for a null.
  const PromptSet prompts{.id = "p",
                          .prompts = {periodic(2, 16), periodic(4, 24), periodic(6, 24)}};
  const CopyNull null("induction", prompts, Occurrence::latest, {.draws = 20, .max_shift = 0}, 7);
  int64_t counted = 0;
  for (size_t p = 0; p < prompts.prompts.size(); ++p) {
    const PromptNull of = null.of_prompt(prompts.prompts[p], static_cast<int64_t>(p));
    for (size_t i = 0; i < of.copies.size(); ++i) {
      counted += of.counts[i];
      EXPECT_EQ(of.counts[i] != 0 && p == 0, false);
      for (const auto& sources : of.sources)
        EXPECT_NE(of.copies[i].query - sources[i], 2) << "prompt " << p << ", copy " << i;
    }
  }
  EXPECT_GE(counted, 20);
}

}  // namespace
}  // namespace mechsweep
