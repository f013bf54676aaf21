// Attention with single edges, whole patterns or values changed.

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "unit/model/attention_support.h"

namespace mechsweep {
namespace {

using namespace test_attention;
using Kind = EdgeVector::Kind;
using Pattern = AttentionChange::Pattern;

constexpr int64_t kTokens = 37;
constexpr int64_t kSize = 20;

EdgeVector random_vector(uint64_t index) {
  RandomStream random(6, "tests/edge", index);
  EdgeVector vector{.kind = Kind::given, .values = std::vector<float>(kSize)};
  for (float& value : vector.values) value = static_cast<float>(random.uniform() * 4.0 - 2.0);
  return vector;
}

EdgeVector own_vector(const float* values) {
  return {.kind = Kind::given, .values = {values, values + kSize}};
}

const EdgeVector kZero = {.kind = Kind::zero, .values = {}};

/// One way to change attention, made for a position (at least 3).
struct Way {
  std::string name;
  std::function<AttentionChange(int64_t position)> make;
};

void PrintTo(const Way& way, std::ostream* out) {
  *out << way.name;
}

AttentionChange on_edge(int64_t key, const std::function<void(EdgeChange&)>& fill) {
  AttentionChange change;
  fill(change.edge(static_cast<int32_t>(key)));
  return change;
}

std::vector<Way> ways() {
  return {
      {"query zero",
       [](int64_t t) { return on_edge(t / 2, [](EdgeChange& e) { e.query_vector = kZero; }); }},
      {"key zero",
       [](int64_t t) { return on_edge(t, [](EdgeChange& e) { e.key_vector = kZero; }); }},
      {"cut", [](int64_t) { return on_edge(0, [](EdgeChange& e) { e.cut = true; }); }},
      {"query given",
       [](int64_t t) {
         return on_edge(t / 3, [](EdgeChange& e) { e.query_vector = random_vector(1); });
       }},
      {"key given",
       [](int64_t t) {
         return on_edge(t - 1, [](EdgeChange& e) { e.key_vector = random_vector(2); });
       }},
      {"query and key given",
       [](int64_t t) {
         return on_edge(t / 2, [](EdgeChange& e) {
           e.query_vector = random_vector(3);
           e.key_vector = random_vector(4);
         });
       }},
      {"value given",
       [](int64_t t) {
         return on_edge(t / 2, [](EdgeChange& e) { e.value_vector = random_vector(5); });
       }},
      {"value dropped",
       [](int64_t t) { return on_edge(t / 2, [](EdgeChange& e) { e.value_vector = kZero; }); }},
      {"key given and value dropped on one key",
       [](int64_t t) {
         return on_edge(t / 2, [](EdgeChange& e) {
           e.key_vector = random_vector(6);
           e.value_vector = kZero;
         });
       }},
      {"several keys",
       [](int64_t t) {
         AttentionChange change;
         change.edge(static_cast<int32_t>(t)).cut = true;
         change.edge(0).value_vector = random_vector(7);
         change.edge(static_cast<int32_t>(t) - 1).query_vector = kZero;
         change.edge(1).key_vector = random_vector(8);
         change.edge(1).value_vector = random_vector(9);
         return change;
       }},
      {"pattern zero",
       [](int64_t) {
         AttentionChange change;
         change.pattern = Pattern::zero;
         return change;
       }},
      {"pattern given",
       [](int64_t t) {
         AttentionChange change;
         change.pattern = Pattern::replace;
         for (int64_t key = 0; key <= t; ++key)
           change.probabilities.push_back(static_cast<float>(key) / static_cast<float>(2 * t));
         return change;
       }},
      {"pattern given and a value dropped",
       [](int64_t t) {
         AttentionChange change;
         change.pattern = Pattern::replace;
         change.probabilities.assign(t + 1, 0.125F);
         change.edge(2).value_vector = kZero;
         return change;
       }},
  };
}

class AttentionChanged : public ::testing::TestWithParam<Way> {
 protected:
  AttentionScratch scratch_;
};

TEST_P(AttentionChanged, AgreesWithDoublePrecision) {
  const ProjectedRows rows(kTokens, kSize, 1, 10);
  const Keys keys(rows);
  double moved = 0.0;
  for (const int64_t t : {3, 15, 16, 31, 36}) {
    SCOPED_TRACE(t);
    const AttentionChange change = GetParam().make(t);
    const Exact exact = exact_attention(rows, t, 0, 0, &change);
    expect_near(attend_to(place_of(keys, t), rows, scratch_, {&change})[0], exact);
    const Exact plain = exact_attention(rows, t, 0);
    for (int64_t e = 0; e < kSize; ++e) moved = std::max(moved, std::abs(exact.z[e] - plain.z[e]));
  }
  EXPECT_GT(moved, 1000 * kRoom);  // or nothing would have been tried
}

TEST_P(AttentionChanged, InAWindow) {
  const ProjectedRows rows(kTokens, kSize, 1, 11);
  const Keys keys(rows);
  for (const int64_t first : {1, 9, 16, 20}) {
    SCOPED_TRACE(first);
    AttentionChange change = GetParam().make(36);
    // What lies outside the window has no probability, whoever says so.
    for (int64_t key = 0; key < std::min<int64_t>(first, std::ssize(change.probabilities)); ++key)
      change.probabilities[key] = 0.0F;
    const auto found = attend_to(place_of(keys, 36, first), rows, scratch_, {&change});
    expect_near(found[0], exact_attention(rows, 36, 0, first, &change));
    ProjectedRows poisoned = rows;
    for (int64_t early = 0; early < first; ++early) poisoned.poison(early);
    const Keys with_nan(poisoned);
    const auto window_only =
        attend_to(place_of(with_nan, 36, first), poisoned, scratch_, {&change});
    expect_same_bits(found[0], window_only[0]);
  }
}

TEST_P(AttentionChanged, CutsOfTheKeysDoNotChangeABit) {
  RandomStream random(7, "tests/attention cuts");
  const ProjectedRows rows(kTokens, kSize, 2, 12);
  const Keys whole(rows);
  for (int draw = 0; draw < 20; ++draw) {
    std::vector<int64_t> cuts;
    for (int64_t at = 1; at < kTokens; ++at)
      if (random.below(12) == 0) cuts.push_back(at);
    const Keys cut(rows, cuts, random);
    const int64_t t = 3 + random.below(kTokens - 3);
    SCOPED_TRACE(fmt::format("draw {}, {} segments, position {}", draw, cut.segments.size(), t));
    const AttentionChange change = GetParam().make(t);
    const auto one = attend_to(place_of(whole, t), rows, scratch_, {&change, nullptr});
    const auto other = attend_to(place_of(cut, t), rows, scratch_, {&change, nullptr});
    for (size_t q = 0; q < 2; ++q) expect_same_bits(one[q], other[q]);
  }
}

TEST_P(AttentionChanged, OtherQueriesOfTheCallKeepTheirBits) {
  for (const int64_t queries : {2, 3, 4, 5, 8}) {
    const ProjectedRows rows(kTokens, kSize, queries, 13);
    const Keys keys(rows);
    for (const int64_t t : {3, 16, 36}) {
      const AttentionChange change = GetParam().make(t);
      const auto plain = attend_to(place_of(keys, t), rows, scratch_);
      for (int64_t changed = 0; changed < queries; ++changed) {
        SCOPED_TRACE(fmt::format("query {} of {} at {}", changed, queries, t));
        std::vector<const AttentionChange*> changes(queries, nullptr);
        changes[changed] = &change;
        const auto found = attend_to(place_of(keys, t), rows, scratch_, changes);
        expect_near(found[changed], exact_attention(rows, t, changed, 0, &change));
        for (int64_t q = 0; q < queries; ++q)
          if (q != changed) expect_same_bits(found[q], plain[q]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, AttentionChanged, ::testing::ValuesIn(ways()),
                         [](const auto& instance) {
                           std::string name = instance.param.name;
                           for (char& c : name)
                             if (c == ' ') c = '_';
                           return name;
                         });

class AttentionChangeTo : public ::testing::Test {
 protected:
  [[nodiscard]] Attended changed(const AttentionChange& change) {
    return attend_to(place_of(keys_, kLast), rows_, scratch_, {&change})[0];
  }
  [[nodiscard]] Attended plain() { return attend_to(place_of(keys_, kLast), rows_, scratch_)[0]; }

  static constexpr int32_t kLast = 20;
  ProjectedRows rows_{kTokens, kSize, 1, 14};
  Keys keys_{rows_};
  AttentionScratch scratch_;
};

TEST_F(AttentionChangeTo, NothingLeavesEveryBit) {
  expect_same_bits(changed({}), plain());
  AttentionChange untouched;
  (void)untouched.edge(3);
  expect_same_bits(changed(untouched), plain());
}

TEST_F(AttentionChangeTo, TheOwnVectorsLeavesEveryBit) {
  for (const int32_t key : {0, 7, 16, kLast}) {
    SCOPED_TRACE(key);
    AttentionChange query;
    query.edge(key).query_vector = own_vector(rows_.query(kLast, 0));
    expect_same_bits(changed(query), plain());
    AttentionChange keyed;
    keyed.edge(key).key_vector = own_vector(rows_.key(key));
    expect_same_bits(changed(keyed), plain());
    AttentionChange value;
    value.edge(key).value_vector = own_vector(rows_.value(key));
    expect_same_bits(changed(value), plain());
  }
}

TEST_F(AttentionChangeTo, TheOwnPatternLeavesEveryBit) {
  const Attended before = plain();
  AttentionChange change;
  change.pattern = Pattern::replace;
  change.probabilities.assign(before.pattern.begin(), before.pattern.begin() + kLast + 1);
  expect_same_bits(changed(change), before);
}

TEST_F(AttentionChangeTo, NoKeysAtAllAttendsToNothing) {
  AttentionChange change;
  for (int32_t key = 0; key <= kLast; ++key) change.edge(key).cut = true;
  const Attended found = changed(change);
  for (const float probability : found.pattern) EXPECT_EQ(probability, 0.0F);
  for (const float value : found.z) EXPECT_EQ(value, 0.0F);
}

TEST_F(AttentionChangeTo, OneKeyGivesThatKeyEverything) {
  AttentionChange change;
  for (int32_t key = 0; key <= kLast; ++key) change.edge(key).cut = key != 5;
  const Attended found = changed(change);
  for (int32_t key = 0; key <= kLast; ++key)
    EXPECT_EQ(found.pattern[key], key == 5 ? 1.0F : 0.0F) << key;
  for (int64_t e = 0; e < kSize; ++e) EXPECT_EQ(found.z[e], rows_.value(5)[e]) << e;
}

TEST_F(AttentionChangeTo, ACutOutweighsVectorsOfItsEdge) {
  AttentionChange cut;
  cut.edge(4).cut = true;
  AttentionChange both = cut;
  both.edge(4).query_vector = random_vector(20);
  both.edge(4).key_vector = kZero;
  ASSERT_EQ(both.edges.size(), 1U);
  expect_same_bits(changed(both), changed(cut));
}

/// A dropped value takes its share away: nothing is renormalised, and no probability moves.
TEST_F(AttentionChangeTo, ADroppedValueKeepsThePattern) {
  AttentionChange change;
  change.edge(6).value_vector = kZero;
  const Attended before = plain();
  const Attended after = changed(change);
  EXPECT_TRUE(same_bits(after.pattern, before.pattern));
  for (int64_t e = 0; e < kSize; ++e)
    EXPECT_NEAR(static_cast<double>(before.z[e]) - static_cast<double>(after.z[e]),
                static_cast<double>(before.pattern[6]) * static_cast<double>(rows_.value(6)[e]),
                1e-6)
        << e;
}

}  // namespace
}  // namespace mechsweep
