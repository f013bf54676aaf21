#include "core/random.h"

#include <map>
#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

using Words = std::array<uint32_t, 4>;

// Known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Philox, MatchesPublishedVectors) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(
      philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
      (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Python: hashlib.sha256((42).to_bytes(8, "little") + b"prompts/abna").hexdigest() starts with
// e88468e2cd5ad180, which read as two little-endian words is the key.
TEST(RandomStream, IsPhiloxKeyedBySeedAndPurposeCountingBlocksOfAnIndex) {
  const std::array<uint32_t, 2> key{0xe26884e8, 0x80d15acd};
  const uint64_t index = 0x0000000700000003;
  RandomStream stream(42, "prompts/abna", index);
  for (uint32_t block = 0; block < 3; ++block)
    for (const uint32_t word : philox4x32_10({block, 0, 3, 7}, key))
      EXPECT_EQ(stream.next_u32(), word);
}

TEST(RandomStream, SixtyFourBitsAreTwoWordsLowFirst) {
  RandomStream words(1, "x");
  RandomStream pairs(1, "x");
  for (int i = 0; i < 5; ++i) {
    const uint64_t low = words.next_u32();
    const uint64_t high = words.next_u32();
    EXPECT_EQ(pairs.next_u64(), low + (high << 32));
  }
}

TEST(RandomStream, UniformIsTheTop53BitsAsAFraction) {
  RandomStream bits(5, "u");
  RandomStream stream(5, "u");
  for (int i = 0; i < 1000; ++i) {
    const double expected = static_cast<double>(bits.next_u64() >> 11) / 9007199254740992.0;
    const double value = stream.uniform();
    EXPECT_EQ(value, expected);
    EXPECT_GE(value, 0.0);
    EXPECT_LT(value, 1.0);
  }
}

TEST(RandomStream, SeedPurposeAndIndexEachChangeTheNumbers) {
  std::set<uint64_t> firsts;
  for (const uint64_t seed : {0ULL, 1ULL, 1ULL << 63})
    for (const char* purpose : {"a", "b"})
      for (const uint64_t index : {0ULL, 1ULL, 1ULL << 32})
        firsts.insert(RandomStream(seed, purpose, index).next_u64());
  EXPECT_EQ(firsts.size(), 18U);
}

/// Pearson's statistic of counts that should be equal.
double chi_square(const std::vector<int>& counts) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// Critical values at p = 0.001 from a chi-square table (df 9: 27.877, 5: 20.515, 23: 49.728).
TEST(RandomStream, BelowIsUniform) {
  RandomStream stream(7, "below");
  std::vector<int> counts(10);
  for (int i = 0; i < 100000; ++i) ++counts.at(stream.below(10));
  EXPECT_LT(chi_square(counts), 27.877);
}

// With 3/4 of 2^32 as bound, a multiply without rejection would hit one residue twice as often.
TEST(RandomStream, BelowIsUnbiasedForALargeBound) {
  RandomStream stream(7, "large");
  constexpr uint32_t kBound = 3U << 30;
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) {
    const uint32_t value = stream.below(kBound);
    ASSERT_LT(value, kBound);
    ++counts[(value % 3) * 2 + (value >= kBound / 2 ? 1 : 0)];
  }
  EXPECT_LT(chi_square(counts), 20.515);
}

TEST(RandomStream, BelowOneIsZero) {
  RandomStream stream(7, "one");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(stream.below(1), 0U);
}

TEST(RandomStream, EveryPermutationOfFourIsEquallyLikely) {
  RandomStream stream(11, "permutation");
  std::map<std::vector<uint32_t>, int> seen;
  for (int i = 0; i < 24000; ++i) ++seen[stream.permutation(4)];
  ASSERT_EQ(seen.size(), 24U);
  std::vector<int> counts;
  for (const auto& [order, count] : seen) counts.push_back(count);
  EXPECT_LT(chi_square(counts), 49.728);
}

TEST(RandomStream, SampleIsDistinctInRangeAndUniform) {
  RandomStream stream(13, "sample");
  std::vector<int> counts(10);
  for (int i = 0; i < 20000; ++i) {
    const auto drawn = stream.sample_without_replacement(10, 3);
    ASSERT_EQ(std::set<uint32_t>(drawn.begin(), drawn.end()).size(), 3U);
    ++counts.at(drawn[2]);  // the last one is where a faulty swap would show
  }
  EXPECT_LT(chi_square(counts), 27.877);
}

TEST(RandomStream, SampleOfAHugePopulationAndOfNothing) {
  RandomStream stream(13, "huge");
  const auto drawn = stream.sample_without_replacement(0xffffffff, 1000);
  EXPECT_EQ(std::set<uint32_t>(drawn.begin(), drawn.end()).size(), 1000U);
  EXPECT_TRUE(stream.sample_without_replacement(5, 0).empty());
}

TEST(RandomStreamDeathTest, AsksForTheImpossible) {
  RandomStream stream(1, "death");
  EXPECT_DEATH(stream.below(0), "below 0");
  EXPECT_DEATH(stream.sample_without_replacement(2, 3), "more distinct numbers");
}

}  // namespace
}  // namespace mechsweep
