#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "model/attention.h"

// Random queries, keys and values, and what attention makes of them in double precision.

namespace mechsweep::test_attention {

inline constexpr double kScale = 0.37;
/// Scores reach 20, so rounding moves one by some 4e-6 and its weight by that share; values by 2.
inline constexpr double kRoom = 2e-5;

/// Rows as a projection lays them side by side: some queries, a key and a value of E floats each.
class ProjectedRows {
 public:
  ProjectedRows(int64_t tokens, int64_t head_size, int64_t queries, uint64_t index)
      : tokens_(tokens), size_(head_size), queries_(queries) {
    RandomStream random(3, "tests/attention", index);
    floats_.resize(tokens * width());
    for (float& value : floats_) value = static_cast<float>(random.uniform() * 4.0 - 2.0);
  }

  [[nodiscard]] int64_t tokens() const { return tokens_; }
  [[nodiscard]] int64_t head_size() const { return size_; }
  [[nodiscard]] int64_t queries() const { return queries_; }
  [[nodiscard]] const float* query(int64_t t, int64_t q) const { return part(t, q); }
  [[nodiscard]] const float* key(int64_t t) const { return part(t, queries_); }
  [[nodiscard]] const float* value(int64_t t) const { return part(t, queries_ + 1); }

  /// Keys and values of positions [begin, end).
  [[nodiscard]] HeadCache cache(int64_t begin, int64_t end) const {
    std::vector<const float*> rows;
    for (int64_t t = begin; t < end; ++t) rows.push_back(part(t, 0));
    HeadCache cache;
    cache.fill(rows, queries_ * size_, (queries_ + 1) * size_, size_);
    return cache;
  }

  /// Makes a position's key and value NaN.
  void poison(int64_t t) {
    std::fill_n(floats_.begin() + t * width() + queries_ * size_, 2 * size_,
                std::numeric_limits<float>::quiet_NaN());
  }

 private:
  [[nodiscard]] int64_t width() const { return (queries_ + 2) * size_; }
  [[nodiscard]] const float* part(int64_t t, int64_t number) const {
    return floats_.data() + t * width() + number * size_;
  }

  int64_t tokens_;
  int64_t size_;
  int64_t queries_;
  std::vector<float> floats_;
};

/// Segments and the caches that they point into.
struct Keys {
  std::deque<HeadCache> caches;
  std::vector<KeySegment> segments;

  /// All positions in one piece.
  explicit Keys(const ProjectedRows& rows) {
    caches.push_back(rows.cache(0, rows.tokens()));
    segments.push_back({&caches.back(), 0, 0, rows.tokens()});
  }
  /// Cut at these positions (ascending), each piece from a cache with other positions around it.
  Keys(const ProjectedRows& rows, const std::vector<int64_t>& cuts, RandomStream& random) {
    int64_t begin = 0;
    for (size_t i = 0; i <= cuts.size(); ++i) {
      const int64_t end = i < cuts.size() ? cuts[i] : rows.tokens();
      const int64_t before = random.below(static_cast<uint32_t>(begin) + 1);
      const int64_t after = random.below(static_cast<uint32_t>(rows.tokens() - end) + 1);
      caches.push_back(rows.cache(begin - before, end + after));
      segments.push_back({&caches.back(), before, begin, end});
      begin = end;
    }
  }
};

struct Attended {
  std::vector<float> pattern;  ///< up to the next multiple of 16
  std::vector<float> z;
};

inline AttentionPlace place_of(const Keys& keys, int64_t position, int64_t first_key = 0) {
  return {.keys = keys.segments,
          .position = position,
          .first_key = first_key,
          .scale = static_cast<float>(kScale)};
}

/// All queries of a row in one call; `changes` has one pointer a query, or is empty.
inline std::vector<Attended> attend_to(const AttentionPlace& place, const ProjectedRows& rows,
                                       AttentionScratch& scratch,
                                       const std::vector<const AttentionChange*>& changes = {}) {
  const int64_t size = rows.head_size();
  std::vector<Attended> all(rows.queries());
  std::vector<AttentionQuery> queries;
  for (int64_t q = 0; q < rows.queries(); ++q) {
    // One float more than a head, to see that nothing is written past it.
    all[q].z.assign(size + 1, 123.0F);
    queries.push_back({.query = rows.query(place.position, q),
                       .change = changes.empty() ? nullptr : changes[q],
                       .out = all[q].z.data()});
  }
  attend(place, queries, scratch);
  const int64_t padded = (place.position + 16) / 16 * 16;
  for (int64_t q = 0; q < rows.queries(); ++q) {
    EXPECT_EQ(all[q].z.back(), 123.0F);
    all[q].z.pop_back();
    all[q].pattern.assign(scratch.row(q), scratch.row(q) + padded);
  }
  return all;
}

struct Exact {
  std::vector<double> pattern;
  std::vector<double> z;
};

inline const EdgeChange* edge_of(const AttentionChange* change, int64_t key) {
  if (change == nullptr) return nullptr;
  for (const EdgeChange& edge : change->edges)
    if (edge.key == key) return &edge;
  return nullptr;
}

/// scale * q . k, or what an edge makes of it.
inline double exact_score(const float* query, const float* key, int64_t size,
                          const EdgeChange* edge) {
  using Kind = EdgeVector::Kind;
  if (edge != nullptr) {
    if (edge->cut) return -std::numeric_limits<double>::infinity();
    if (edge->query_vector.kind == Kind::zero || edge->key_vector.kind == Kind::zero) return 0.0;
    if (edge->query_vector.kind == Kind::given) query = edge->query_vector.values.data();
    if (edge->key_vector.kind == Kind::given) key = edge->key_vector.values.data();
  }
  double score = 0.0;
  for (int64_t e = 0; e < size; ++e)
    score += static_cast<double>(query[e]) * static_cast<double>(key[e]);
  return kScale * score;
}

/// Attention of one query by the definition: softmax over keys first_key..position.
inline Exact exact_attention(const ProjectedRows& rows, int64_t position, int64_t query,
                             int64_t first_key = 0, const AttentionChange* change = nullptr) {
  const int64_t size = rows.head_size();
  Exact exact{std::vector<double>(position + 1), std::vector<double>(size)};
  double total = 0.0;
  for (int64_t key = first_key; key <= position; ++key) {
    const double score =
        exact_score(rows.query(position, query), rows.key(key), size, edge_of(change, key));
    exact.pattern[key] = std::exp(score);
    total += exact.pattern[key];
  }
  using Pattern = AttentionChange::Pattern;
  for (int64_t key = 0; key <= position; ++key) {
    if (total > 0.0) exact.pattern[key] /= total;
    if (change != nullptr && change->pattern == Pattern::zero) exact.pattern[key] = 0.0;
    if (change != nullptr && change->pattern == Pattern::replace)
      exact.pattern[key] = static_cast<double>(change->probabilities[key]);
    const EdgeChange* edge = edge_of(change, key);
    const float* value = rows.value(key);
    if (edge != nullptr && edge->value_vector.kind == EdgeVector::Kind::zero) continue;
    if (edge != nullptr && edge->value_vector.kind == EdgeVector::Kind::given)
      value = edge->value_vector.values.data();
    for (int64_t e = 0; e < size; ++e)
      exact.z[e] += exact.pattern[key] * static_cast<double>(value[e]);
  }
  return exact;
}

/// Near the exact numbers; where these are 0 by definition (outside the window, cut), exactly 0.
inline void expect_near(const Attended& found, const Exact& exact) {
  const auto keys = static_cast<int64_t>(exact.pattern.size());
  for (int64_t key = 0; key < static_cast<int64_t>(found.pattern.size()); ++key) {
    const double wanted = key < keys ? exact.pattern[key] : 0.0;
    EXPECT_NEAR(found.pattern[key], wanted, wanted == 0.0 ? 0.0 : kRoom) << "key " << key;
  }
  ASSERT_EQ(found.z.size(), exact.z.size());
  for (size_t e = 0; e < exact.z.size(); ++e) EXPECT_NEAR(found.z[e], exact.z[e], kRoom) << e;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline void expect_same_bits(const Attended& a, const Attended& b) {
  EXPECT_TRUE(same_bits(a.pattern, b.pattern));
  EXPECT_TRUE(same_bits(a.z, b.z));
}

}  // namespace mechsweep::test_attention
