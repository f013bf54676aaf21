#include "model/attention.h"

#include <vector>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "unit/model/attention_support.h"

namespace mechsweep {
namespace {

using namespace test_attention;

struct Case {
  int64_t tokens;
  int64_t head_size;
};

class Attention : public ::testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] static ProjectedRows random_rows(int64_t queries, uint64_t index) {
    return {GetParam().tokens, GetParam().head_size, queries, index};
  }
  /// Up to three places to cut at, each once.
  static std::vector<int64_t> random_cuts(RandomStream& random) {
    const auto places = static_cast<uint32_t>(GetParam().tokens - 1);
    const auto drawn = random.sample_without_replacement(places, std::min(places, random.below(4)));
    std::vector<int64_t> cuts;
    for (const uint32_t place : drawn) cuts.push_back(int64_t{place} + 1);
    std::sort(cuts.begin(), cuts.end());
    return cuts;
  }

  AttentionScratch scratch_;  ///< used again and again, as threads do
};

TEST_P(Attention, AgreesWithDoublePrecision) {
  const ProjectedRows rows = random_rows(1, 0);
  const Keys keys(rows);
  for (int64_t t = 0; t < rows.tokens(); ++t) {
    SCOPED_TRACE(t);
    expect_near(attend_to(place_of(keys, t), rows, scratch_)[0], exact_attention(rows, t, 0));
  }
}

TEST_P(Attention, QueriesOfOneCallAreAloneWithTheKeys) {
  for (const int64_t queries : {3, 4, 5, 8}) {
    const ProjectedRows rows = random_rows(queries, 1);
    const Keys keys(rows);
    for (int64_t t = 0; t < rows.tokens(); t += 1 + t / 4) {
      const AttentionPlace place = place_of(keys, t);
      const auto together = attend_to(place, rows, scratch_);
      for (int64_t q = 0; q < queries; ++q) {
        SCOPED_TRACE(fmt::format("query {} of {} at {}", q, queries, t));
        expect_near(together[q], exact_attention(rows, t, q));
        std::vector<float> z(rows.head_size());
        const AttentionQuery alone = {.query = rows.query(t, q), .out = z.data()};
        attend(place, {&alone, 1}, scratch_);
        EXPECT_TRUE(same_bits(z, together[q].z));
      }
    }
  }
}

TEST_P(Attention, PatternsGoWhereTheyAreWantedAndZMayBeLeftOut) {
  const ProjectedRows rows = random_rows(6, 7);
  const Keys keys(rows);
  for (int64_t t = 0; t < rows.tokens(); t += 1 + t / 4) {
    SCOPED_TRACE(t);
    const auto expected = attend_to(place_of(keys, t), rows, scratch_);
    const int64_t room = pattern_row_room(t);
    // One float more than a row may take, to see that nothing is written past it.
    std::vector<std::vector<float>> patterns(6, std::vector<float>(room + 1, 123.0F));
    std::vector<std::vector<float>> z(6, std::vector<float>(rows.head_size(), 123.0F));
    std::vector<AttentionQuery> asked;
    for (int64_t q = 0; q < 6; ++q)
      asked.push_back({.query = rows.query(t, q),
                       .out = q % 2 == 0 ? z[q].data() : nullptr,
                       .pattern = q == 3 ? nullptr : patterns[q].data()});
    attend(place_of(keys, t), asked, scratch_);
    for (int64_t q = 0; q < 6; ++q) {
      if (q % 2 == 0) {
        EXPECT_TRUE(same_bits(z[q], expected[q].z));
      }
      EXPECT_EQ(patterns[q][room], 123.0F);
      if (q == 3) std::copy_n(scratch_.row(3), t + 1, patterns[q].begin());
      patterns[q].resize(t + 1);
      EXPECT_TRUE(same_bits(patterns[q],
                            {expected[q].pattern.begin(), expected[q].pattern.begin() + t + 1}));
    }
  }
}

TEST_P(Attention, ZMayTakeThePlaceOfItsQuery) {
  for (const int64_t queries : {1, 3, 8}) {
    const ProjectedRows rows = random_rows(queries, 2);
    const Keys keys(rows);
    const int64_t size = rows.head_size();
    const int64_t last = rows.tokens() - 1;
    const auto expected = attend_to(place_of(keys, last), rows, scratch_);
    std::vector<float> in_place(rows.query(last, 0), rows.query(last, 0) + queries * size);
    std::vector<AttentionQuery> asked;
    for (int64_t q = 0; q < queries; ++q)
      asked.push_back({.query = in_place.data() + q * size, .out = in_place.data() + q * size});
    attend(place_of(keys, last), asked, scratch_);
    for (int64_t q = 0; q < queries; ++q)
      EXPECT_TRUE(same_bits({in_place.begin() + q * size, in_place.begin() + (q + 1) * size},
                            expected[q].z))
          << q;
  }
}

TEST_P(Attention, LaterKeysDoNotChangeABit) {
  const ProjectedRows rows = random_rows(2, 3);
  const Keys whole(rows);
  for (int64_t t = 0; t < rows.tokens(); ++t) {
    SCOPED_TRACE(t);
    const HeadCache prefix = rows.cache(0, t + 1);
    const KeySegment only = {&prefix, 0, 0, t + 1};
    const AttentionPlace short_place = {
        .keys = {&only, 1}, .position = t, .scale = static_cast<float>(kScale)};
    const auto one = attend_to(place_of(whole, t), rows, scratch_);
    const auto other = attend_to(short_place, rows, scratch_);
    for (int64_t q = 0; q < 2; ++q) expect_same_bits(one[q], other[q]);
    ProjectedRows poisoned = rows;
    for (int64_t later = t + 1; later < rows.tokens(); ++later) poisoned.poison(later);
    const Keys with_nan(poisoned);
    const auto third = attend_to(place_of(with_nan, t), poisoned, scratch_);
    for (int64_t q = 0; q < 2; ++q) expect_same_bits(one[q], third[q]);
  }
}

TEST_P(Attention, CutsDoNotChangeABit) {
  RandomStream random(4, "tests/attention cuts");
  const ProjectedRows rows = random_rows(3, 4);
  const Keys whole(rows);
  for (int draw = 0; draw < 60; ++draw) {
    const Keys cut(rows, random_cuts(random), random);
    const int64_t t =
        draw == 0 ? rows.tokens() - 1 : random.below(static_cast<uint32_t>(rows.tokens()));
    SCOPED_TRACE(fmt::format("draw {}, {} segments, position {}", draw, cut.segments.size(), t));
    const auto one = attend_to(place_of(whole, t), rows, scratch_);
    const auto other = attend_to(place_of(cut, t), rows, scratch_);
    for (int64_t q = 0; q < 3; ++q) expect_same_bits(one[q], other[q]);
  }
}

TEST_P(Attention, AWindowIsAttentionOverItsKeysAlone) {
  RandomStream random(5, "tests/attention window");
  const ProjectedRows rows = random_rows(5, 5);
  const Keys whole(rows);
  for (int draw = 0; draw < 40; ++draw) {
    const int64_t t = random.below(static_cast<uint32_t>(rows.tokens()));
    const int64_t first = draw % 4 == 0 ? t : random.below(static_cast<uint32_t>(t) + 1);
    SCOPED_TRACE(fmt::format("draw {}, keys {}..{}", draw, first, t));
    const auto found = attend_to(place_of(whole, t, first), rows, scratch_);
    const Keys cut(rows, random_cuts(random), random);
    const auto from_pieces = attend_to(place_of(cut, t, first), rows, scratch_);
    ProjectedRows poisoned = rows;
    for (int64_t early = 0; early < first; ++early) poisoned.poison(early);
    const Keys with_nan(poisoned);
    const auto window_only = attend_to(place_of(with_nan, t, first), poisoned, scratch_);
    for (int64_t q = 0; q < rows.queries(); ++q) {
      expect_near(found[q], exact_attention(rows, t, q, first));
      expect_same_bits(found[q], from_pieces[q]);
      expect_same_bits(found[q], window_only[q]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         ::testing::Values(Case{1, 8}, Case{5, 10}, Case{16, 16}, Case{17, 64},
                                           Case{40, 80}, Case{130, 128}),
                         [](const auto& param_info) {
                           return fmt::format("T{}E{}", param_info.param.tokens,
                                              param_info.param.head_size);
                         });

TEST(HeadCache, PadsWithZerosAndForgetsWhatItHeld) {
  const ProjectedRows first(20, 10, 1, 6);
  HeadCache cache = first.cache(0, 20);
  EXPECT_EQ(cache.key_stride, 32);
  EXPECT_EQ(cache.value_stride, 16);
  const std::vector<float> row = {1, 2, 3, 4, 5, 6};  // a query, a key and a value of 2 floats
  const float* rows[] = {row.data(), row.data()};
  cache.fill(rows, 2, 4, 2);
  EXPECT_EQ(cache.length, 2);
  EXPECT_EQ(cache.head_size, 2);
  for (int64_t t = 0; t < cache.key_stride; ++t) {
    EXPECT_EQ(cache.keys[t], t < 2 ? 3.0F : 0.0F) << t;
    EXPECT_EQ(cache.keys[cache.key_stride + t], t < 2 ? 4.0F : 0.0F) << t;
  }
  for (int64_t e = 0; e < cache.value_stride; ++e)
    EXPECT_EQ(cache.values[cache.value_stride + e], e == 0 ? 5.0F : e == 1 ? 6.0F : 0.0F) << e;
}

}  // namespace
}  // namespace mechsweep
