#include "stats/sign_flips.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"

namespace mechsweep {
namespace {

TEST(SignFlips, FewClustersGiveEveryPatternOnce) {
  const SignFlips flips = draw_sign_flips(4, {.flips = 16});
  ASSERT_TRUE(flips.exact);
  ASSERT_EQ(flips.flips, 16);
  std::set<std::vector<bool>> patterns;
  for (int64_t flip = 0; flip < 16; ++flip) {
    std::vector<bool> pattern;
    for (int64_t g = 0; g < 4; ++g) pattern.push_back(flips.is_turned(flip, g));
    if (flip == 0) {
      EXPECT_EQ(pattern, std::vector<bool>(4, false));
    }
    patterns.insert(pattern);
  }
  EXPECT_EQ(patterns.size(), 16U);
  EXPECT_FALSE(draw_sign_flips(4, {.flips = 15}).exact);
}

TEST(SignFlips, RandomPatternsAreFairAndDependOnSeedPurposeAndNumberOnly) {
  const SignFlips flips = draw_sign_flips(130, {.flips = 4000, .seed = 1, .purpose = "a"});
  ASSERT_FALSE(flips.exact);
  for (const int64_t g : {0, 63, 64, 127, 129}) {
    int turned = 0, with_first = 0;
    for (int64_t flip = 0; flip < flips.flips; ++flip) {
      turned += flips.is_turned(flip, g) ? 1 : 0;
      with_first += flips.is_turned(flip, g) == flips.is_turned(flip, 1) ? 1 : 0;
    }
    // Binomial(4000, 1/2): standard deviation 31.6.
    EXPECT_NEAR(turned, 2000, 160) << g;
    EXPECT_NEAR(with_first, 2000, 160) << g;
  }
  const SignFlips longer = draw_sign_flips(130, {.flips = 5000, .seed = 1, .purpose = "a"});
  EXPECT_TRUE(std::equal(flips.bits.begin(), flips.bits.end(), longer.bits.begin()));
  EXPECT_NE(flips.bits, draw_sign_flips(130, {.flips = 4000, .seed = 2, .purpose = "a"}).bits);
  EXPECT_NE(flips.bits, draw_sign_flips(130, {.flips = 4000, .seed = 1, .purpose = "b"}).bits);
  EXPECT_THROW(draw_sign_flips(3, {.flips = 0}), Error);
}

}  // namespace
}  // namespace mechsweep
