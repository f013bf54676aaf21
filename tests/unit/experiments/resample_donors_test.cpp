#include "experiments/resample_donors.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::small_model;
using testing::ElementsAre;

/// Prompts of these lengths, called p0, p1, ...
PromptSet prompts_of(const std::vector<int>& lengths) {
  PromptSet set{.id = "p"};
  for (const int length : lengths)
    set.prompts.push_back(
        {.id = fmt::format("p{}", set.prompts.size()), .tokens = std::vector<int32_t>(length, 1)});
  return set;
}

RunContext context_of(const PromptSet& set, uint64_t seed = 7) {
  return {.run_id = "e/m/p", .prompts = &set, .seed = seed};
}

TEST(ResampleDonors, AreOtherPromptsOfTheSameLength) {
  const PromptSet set = prompts_of({3, 2, 3, 2, 3, 3});
  const ResampleDonors donors(context_of(set));
  std::set<int32_t> seen;
  for (int64_t draw = 0; draw < 60; ++draw) {
    EXPECT_EQ(donors.donor(1, draw), 3);
    EXPECT_EQ(donors.donor(3, draw), 1);
    seen.insert(donors.donor(2, draw));
  }
  EXPECT_THAT(seen, ElementsAre(0, 4, 5));
}

TEST(ResampleDonors, AreDrawnAsDocumented) {
  const PromptSet set = prompts_of({3, 3, 3, 3, 3});
  const ResampleDonors donors(context_of(set));
  for (int32_t prompt = 0; prompt < 5; ++prompt)
    for (uint64_t draw = 0; draw < 4; ++draw) {
      const auto drawn = static_cast<int32_t>(
          RandomStream(7, fmt::format("resample/e/m/p/{}", prompt), draw).below(4));
      // The others in their order: the prompt itself is skipped.
      EXPECT_EQ(donors.donor(prompt, static_cast<int64_t>(draw)), drawn + (drawn >= prompt));
    }
}

TEST(ResampleDonors, FollowTheSeed) {
  const PromptSet set = prompts_of(std::vector<int>(40, 3));
  const ResampleDonors one(context_of(set));
  const ResampleDonors same(context_of(set));
  const ResampleDonors other(context_of(set, 8));
  int differing = 0;
  for (int64_t prompt = 0; prompt < 40; ++prompt) {
    EXPECT_EQ(one.donor(prompt, 0), same.donor(prompt, 0));
    differing += one.donor(prompt, 0) != other.donor(prompt, 0) ? 1 : 0;
  }
  EXPECT_GT(differing, 20);
}

TEST(ResampleDonors, APromptAloneWithItsLengthIsNamed) {
  const PromptSet set = prompts_of({3, 2, 3});
  const ResampleDonors donors(context_of(set));
  EXPECT_EQ(failure([&] { donors.check(); }),
            "input: prompt 'p1' of set 'p' is the only one of 2 tokens, so `resample` has no donor "
            "for it; add prompts of that length, or use another operation");
}

}  // namespace
}  // namespace mechsweep
