#include "core/group.h"

#include <vector>

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

TEST(SoloGroup, IsAGroupOfOneThatKeepsValues) {
  SoloGroup solo;
  Group& group = solo;
  EXPECT_EQ(group.rank(), 0);
  EXPECT_EQ(group.size(), 1);
  std::vector<float> values{1.5F, -2.0F};
  group.all_reduce_sum(values);
  EXPECT_EQ(values, (std::vector<float>{1.5F, -2.0F}));
  std::vector<float> all(2);
  group.all_gather(values, all);
  EXPECT_EQ(all, values);
  std::vector<uint8_t> bytes{7, 8};
  group.broadcast(bytes, 0);
  EXPECT_EQ(bytes, (std::vector<uint8_t>{7, 8}));
  group.barrier();
}

TEST(SoloGroupDeathTest, AllGatherNeedsEqualSizes) {
  SoloGroup group;
  std::vector<float> mine(2), all(3);
  EXPECT_DEATH(group.all_gather(mine, all), "all-gather");
}

TEST(EvenPart, CoversEverythingInOrderWithSizesThatDifferByAtMostOne) {
  for (const int64_t count : {0, 1, 5, 8, 30, 49152})
    for (const int64_t parts : {1, 2, 3, 8, 31}) {
      int64_t next = 0;
      for (int64_t index = 0; index < parts; ++index) {
        const Range part = even_part(count, parts, index);
        EXPECT_EQ(part.begin, next);
        EXPECT_GE(part.size(), count / parts);
        EXPECT_LE(part.size(), (count + parts - 1) / parts);
        next = part.end;
      }
      EXPECT_EQ(next, count);
    }
}

TEST(EvenPart, CutsTenIntoFour) {
  EXPECT_EQ(even_part(10, 4, 0), (Range{0, 2}));
  EXPECT_EQ(even_part(10, 4, 1), (Range{2, 5}));
  EXPECT_EQ(even_part(10, 4, 2), (Range{5, 7}));
  EXPECT_EQ(even_part(10, 4, 3), (Range{7, 10}));
}

}  // namespace
}  // namespace mechsweep
