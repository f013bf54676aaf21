#include "stats/profile.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
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

TEST(Profile, TopHeadsAndTheirMeansMatchNumPy) {
  const Json& golden = testing::stats_golden()["top_fraction"];
  const auto scores = testing::numbers(golden["scores"]);
  const auto values = testing::numbers(golden["values"]);
  for (const Json& expected : golden["cases"]) {
    const auto fraction = expected["fraction"].get<double>();
    const std::string name = "fraction " + std::to_string(fraction);
    EXPECT_EQ(top_head_count(7, fraction), expected["count"].get<int64_t>()) << name;
    const auto chosen = top_heads(scores, 4, 7, fraction);
    const std::vector<double> as_numbers(chosen.begin(), chosen.end());
    testing::expect_all_same(as_numbers, testing::numbers(expected["chosen"]), 0.0, name);
    testing::expect_all_same(top_profile(scores, 4, 7, fraction),
                             testing::numbers(expected["profile"]), 1e-15, name + " profile");
    testing::expect_all_same(layer_profiles(values, 3, 4, 7, chosen),
                             testing::numbers(expected["by_prompt"]), 1e-15, name + " by prompt");
  }
}

TEST(Profile, TopCountRoundsDownButNotBelowOneNorForRounding) {
  EXPECT_EQ(top_head_count(9, 0.1), 1);
  EXPECT_EQ(top_head_count(16, 0.1), 1);
  EXPECT_EQ(top_head_count(64, 0.1), 6);
  EXPECT_EQ(top_head_count(100, 0.29), 29);  // 0.29 * 100 is 28.999999999999996
  EXPECT_EQ(top_head_count(1, 1.0), 1);
  for (const double wrong : {0.0, -0.1, 1.01, std::nan("")})
    EXPECT_THROW(top_head_count(4, wrong), Error);
}

}  // namespace
}  // namespace mechsweep
