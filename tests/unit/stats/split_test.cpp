#include "stats/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {
namespace {

TEST(Clusters, TemplatesShareANumberAndPromptsWithoutOneStandAlone) {
  const std::vector<std::string> templates{"b", "", "a", "b", "", "a"};
  EXPECT_EQ(clusters_of(templates), (std::vector<int>{0, 1, 2, 0, 3, 2}));
}

TEST(Split, HalvesArePartsOfTheWholeThatKeepClusters) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    RandomStream stream(seed, "split_test");
    std::vector<int> clusters;
    std::vector<int64_t> sizes;
    const int cluster_count = 2 + static_cast<int>(stream.below(20));
    for (int cluster = 0; cluster < cluster_count; ++cluster) {
      sizes.push_back(1 + stream.below(6));
      clusters.insert(clusters.end(), sizes.back(), cluster);
    }
    const HalfSplit split = split_halves(clusters, seed, "heads");
    std::vector<int64_t> all = split.half_a;
    all.insert(all.end(), split.half_b.begin(), split.half_b.end());
    std::sort(all.begin(), all.end());
    ASSERT_EQ(all.size(), clusters.size());
    for (int64_t i = 0; i < std::ssize(all); ++i) ASSERT_EQ(all[i], i);

    std::set<int> in_a;
    for (const int64_t prompt : split.half_a) in_a.insert(clusters[prompt]);
    for (const int64_t prompt : split.half_b) EXPECT_FALSE(in_a.contains(clusters[prompt]));
    EXPECT_LE(std::abs(std::ssize(split.half_a) - std::ssize(split.half_b)),
              *std::max_element(sizes.begin(), sizes.end()));
    EXPECT_FALSE(split.half_a.empty());
    EXPECT_FALSE(split.half_b.empty());
    EXPECT_TRUE(std::is_sorted(split.half_a.begin(), split.half_a.end()));
    EXPECT_TRUE(std::is_sorted(split.half_b.begin(), split.half_b.end()));
  }
}

TEST(Split, DependsOnSeedAndPurposeOnly) {
  std::vector<int> clusters(40);
  for (int i = 0; i < 40; ++i) clusters[i] = i;
  const auto base = split_halves(clusters, 7, "heads");
  EXPECT_EQ(base.half_a.size(), 20U);
  EXPECT_EQ(base.half_a, split_halves(clusters, 7, "heads").half_a);
  EXPECT_NE(base.half_a, split_halves(clusters, 8, "heads").half_a);
  EXPECT_NE(base.half_a, split_halves(clusters, 7, "scores").half_a);
}

TEST(Split, EveryPromptFallsInEitherHalfEquallyOften) {
  std::vector<int> clusters{0, 1, 2, 3, 4, 5};
  std::vector<int> in_a(6, 0);
  for (uint64_t seed = 0; seed < 1000; ++seed)
    for (const int64_t prompt : split_halves(clusters, seed, "fair").half_a) ++in_a[prompt];
  // Binomial(1000, 1/2): standard deviation 15.8.
  for (const int count : in_a) EXPECT_NEAR(count, 500, 80);
}

TEST(Split, RefusesOneTemplate) {
  try {
    split_halves(std::vector<int>{0, 0, 0}, 1, "heads");
    FAIL() << "one cluster was split";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(error.message().find("at least two templates"), std::string::npos);
  }
}

}  // namespace
}  // namespace mechsweep
