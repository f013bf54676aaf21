#include "stats/profile.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stats_golden.h"

namespace mechsweep {
namespace {

TEST(Profile, MatchesNumPyWithNanLeftOut) {
  const Json& golden = testing::stats_golden()["profile"];
  const auto expected = testing::numbers(golden["expected"]);
  const auto profile = layer_profiles(testing::numbers(golden["values"]), 2, 3, 4);
  ASSERT_EQ(profile.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (i == 5) {  // prompt 1, layer 2 has no head left
      EXPECT_TRUE(std::isnan(expected[i]) && std::isnan(profile[i]));
    } else {
      EXPECT_NEAR(profile[i], expected[i], 1e-15) << i;
    }
  }
}

}  // namespace
}  // namespace mechsweep
