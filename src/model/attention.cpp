#include "model/attention.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"
#include "model/row_kernels.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();
/// Queries and vectors that are worked on together: 16 sums, which hide each other's latency.
constexpr int kQueries = 4;
constexpr int kBlocks = 4;

const Float16 kLaneIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/// Up to kQueries rows of factors, and where their sums go.
struct RowSet {
  std::array<const float*, kQueries> factors;
  std::array<float*, kQueries> sums;
};

/// Adds `terms` products to Blocks neighbouring vectors of sums for each of Queries rows:
/// sums[q][b] += factors[q][i] * rows[i * stride + 16 b], in the order of i. The order of a sum
/// does not depend on Queries or Blocks, nor on how many calls the terms are cut into.
template <int Queries, int Blocks>
MECHSWEEP_INLINE void add_products(const RowSet& set, int64_t first_factor, int64_t terms,
                                   const float* rows, int64_t stride, int64_t column) {
  Float16 total[Queries][Blocks];
  for (int q = 0; q < Queries; ++q)
    for (int b = 0; b < Blocks; ++b) total[q][b] = load(set.sums[q] + column + b * kLanes);
  for (int64_t i = 0; i < terms; ++i) {
    Float16 row[Blocks];
    for (int b = 0; b < Blocks; ++b) row[b] = load(rows + i * stride + b * kLanes);
    for (int q = 0; q < Queries; ++q)
      for (int b = 0; b < Blocks; ++b) total[q][b] += set.factors[q][first_factor + i] * row[b];
  }
  for (int q = 0; q < Queries; ++q)
    for (int b = 0; b < Blocks; ++b) store(set.sums[q] + column + b * kLanes, total[q][b]);
}

template <int Queries>
MECHSWEEP_INLINE void add_products_of(const RowSet& set, int64_t first_factor, int64_t terms,
                                      const float* rows, int64_t stride, int64_t column,
                                      int64_t blocks) {
  for (; blocks >= kBlocks; blocks -= kBlocks, rows += kBlocks * kLanes, column += kBlocks * kLanes)
    add_products<Queries, kBlocks>(set, first_factor, terms, rows, stride, column);
  if (blocks == 3) add_products<Queries, 3>(set, first_factor, terms, rows, stride, column);
  if (blocks == 2) add_products<Queries, 2>(set, first_factor, terms, rows, stride, column);
  if (blocks == 1) add_products<Queries, 1>(set, first_factor, terms, rows, stride, column);
}

MECHSWEEP_MULTIVERSION
void add_products_for(size_t queries, const RowSet& set, int64_t first_factor, int64_t terms,
                      const float* rows, int64_t stride, int64_t column, int64_t blocks) {
  switch (queries) {
    case 1:
      return add_products_of<1>(set, first_factor, terms, rows, stride, column, blocks);
    case 2:
      return add_products_of<2>(set, first_factor, terms, rows, stride, column, blocks);
    case 3:
      return add_products_of<3>(set, first_factor, terms, rows, stride, column, blocks);
    default:
      return add_products_of<4>(set, first_factor, terms, rows, stride, column, blocks);
  }
}

/// softmax(scale * scores) over keys [first_key, position], in place; other places up to the end of
/// the last vector become 0.
MECHSWEEP_MULTIVERSION
void softmax_row(float* scores, int64_t position, int64_t first_key, float scale) {
  const int64_t begin = first_key / kLanes * kLanes;
  const int64_t end = round_up(position + 1, kLanes);
  std::fill(scores, scores + begin, 0.0F);
  Float16 largest = Float16{} + kMasked;
  for (int64_t j = begin; j < end; j += kLanes) {
    const Int16 visible = (kLaneIndex <= static_cast<float>(position - j)) &
                          (kLaneIndex >= static_cast<float>(first_key - j));
    const Float16 score = visible ? load(scores + j) * scale : kMasked;
    largest = score > largest ? score : largest;
    store(scores + j, score);
  }
  const float top = max_lanes(largest);
  if (top == kMasked) {
    std::fill(scores + begin, scores + end, 0.0F);
    return;
  }
  Float16 total{};
  for (int64_t j = begin; j < end; j += kLanes) {
    const Float16 weight = exp_nonpositive(load(scores + j) - top);
    total += weight;
    store(scores + j, weight);
  }
  const float sum = sum_lanes(total);
  for (int64_t j = begin; j < end; j += kLanes) store(scores + j, load(scores + j) / sum);
}

/// Both in the order in which add_products adds them up.
MECHSWEEP_MULTIVERSION
float dot_in_order(const float* a, const float* b, int64_t stride, int64_t count) {
  Float16 total{};
  for (int64_t i = 0; i < count; ++i) {
    Float16 lanes{};
    lanes[0] = b[i * stride];
    total += a[i] * lanes;
  }
  return total[0];
}

const KeySegment& segment_of(std::span<const KeySegment> keys, int64_t position) {
  for (const KeySegment& segment : keys)
    if (position < segment.end) return segment;
  ensure(false, "attention was asked for a key that it was not given");
  return keys.back();
}

/// Scores of changed edges, before they are scaled.
void change_scores(const AttentionPlace& place, const AttentionQuery& query, float* scores) {
  for (const EdgeChange& edge : query.change->edges) {
    if (edge.key > place.position) continue;
    const KeySegment& segment = segment_of(place.keys, edge.key);
    const HeadCache& cache = *segment.cache;
    const bool given_query = edge.query_vector.kind == EdgeVector::Kind::given;
    const bool given_key = edge.key_vector.kind == EdgeVector::Kind::given;
    const float* q = given_query ? edge.query_vector.values.data() : query.query;
    const float* k = given_key ? edge.key_vector.values.data()
                               : cache.keys.data() + segment.from + (edge.key - segment.begin);
    if (given_query || given_key)
      scores[edge.key] = dot_in_order(q, k, given_key ? 1 : cache.key_stride, cache.head_size);
    if (edge.query_vector.kind == EdgeVector::Kind::zero ||
        edge.key_vector.kind == EdgeVector::Kind::zero)
      scores[edge.key] = 0.0F;
    if (edge.cut) scores[edge.key] = kMasked;
  }
}

void change_pattern(const AttentionPlace& place, const AttentionChange& change, float* row) {
  if (change.pattern == AttentionChange::Pattern::zero) std::fill_n(row, place.position + 1, 0.0F);
  if (change.pattern == AttentionChange::Pattern::replace)
    std::copy(change.probabilities.begin() + place.first_key,
              change.probabilities.begin() + place.position + 1, row + place.first_key);
}

/// The weighted sum of values where single values are dropped or replaced: `sums` gets E floats.
void sum_changed_values(const AttentionPlace& place, const AttentionChange& change,
                        const float* weights, float* sums) {
  for (const KeySegment& segment : place.keys) {
    const HeadCache& cache = *segment.cache;
    const int64_t last = std::min(segment.end, place.position + 1);
    for (int64_t t = std::max(segment.begin, place.first_key); t < last; ++t) {
      const float* value =
          cache.values.data() + (segment.from + t - segment.begin) * cache.value_stride;
      std::vector<float> given;
      const auto edge = std::find_if(change.edges.begin(), change.edges.end(),
                                     [t](const EdgeChange& e) { return e.key == t; });
      if (edge != change.edges.end()) {
        if (edge->value_vector.kind == EdgeVector::Kind::zero) continue;
        if (edge->value_vector.kind == EdgeVector::Kind::given) {
          given.assign(cache.value_stride, 0.0F);
          std::copy(edge->value_vector.values.begin(), edge->value_vector.values.end(),
                    given.begin());
          value = given.data();
        }
      }
      add_products_for(1, {{weights}, {sums}}, t, 1, value, cache.value_stride, 0,
                       cache.value_stride / kLanes);
    }
  }
}

bool changes_values(const AttentionChange* change) {
  return change != nullptr &&
         std::any_of(change->edges.begin(), change->edges.end(), [](const EdgeChange& edge) {
           return edge.value_vector.kind != EdgeVector::Kind::own;
         });
}

/// attend for at most kQueries queries; row i of `probabilities` belongs to query i.
void attend_some(const AttentionPlace& place, std::span<const AttentionQuery> queries,
                 float* probabilities, int64_t row_stride, float* sums) {
  const int64_t stride = place.keys.front().cache->value_stride;
  const int64_t size = place.keys.front().cache->head_size;
  RowSet scores{};
  RowSet values{};
  for (size_t i = 0; i < queries.size(); ++i) {
    scores.factors[i] = queries[i].query;
    scores.sums[i] = queries[i].pattern != nullptr
                         ? queries[i].pattern
                         : probabilities + static_cast<int64_t>(i) * row_stride;
    values.factors[i] = scores.sums[i];
    values.sums[i] = sums + static_cast<int64_t>(i) * stride;
  }
  const int64_t aligned_first = place.first_key / kLanes * kLanes;
  for (const KeySegment& segment : place.keys) {
    // A vector may reach past its segment: the next one's scores come later and replace those.
    const int64_t begin = std::max(segment.begin, aligned_first);
    const int64_t end = std::min(segment.end, place.position + 1);
    if (begin >= end) continue;
    const HeadCache& cache = *segment.cache;
    const int64_t blocks = round_up(end - begin, kLanes) / kLanes;
    for (size_t i = 0; i < queries.size(); ++i)
      std::fill_n(scores.sums[i] + begin, blocks * kLanes, 0.0F);
    add_products_for(queries.size(), scores, 0, size,
                     cache.keys.data() + segment.from + (begin - segment.begin), cache.key_stride,
                     begin, blocks);
  }
  bool plain_values = true;
  bool outputs_wanted = false;
  for (size_t i = 0; i < queries.size(); ++i) {
    const AttentionQuery& query = queries[i];
    if (query.change != nullptr) change_scores(place, query, scores.sums[i]);
    if (place.cap > 0.0F)
      cap_row(scores.sums[i] + aligned_first, place.position + 1 - aligned_first, place.scale,
              place.cap);
    softmax_row(scores.sums[i], place.position, place.first_key,
                place.cap > 0.0F ? 1.0F : place.scale);
    if (query.change != nullptr) change_pattern(place, *query.change, scores.sums[i]);
    plain_values = plain_values && !changes_values(query.change);
    outputs_wanted = outputs_wanted || query.out != nullptr;
  }
  if (!outputs_wanted) return;
  std::fill_n(sums, static_cast<int64_t>(queries.size()) * stride, 0.0F);
  if (plain_values) {
    for (const KeySegment& segment : place.keys) {
      const int64_t begin = std::max(segment.begin, place.first_key);
      const int64_t end = std::min(segment.end, place.position + 1);
      if (begin >= end) continue;
      add_products_for(
          queries.size(), values, begin, end - begin,
          segment.cache->values.data() + (segment.from + begin - segment.begin) * stride, stride, 0,
          stride / kLanes);
    }
  } else {
    static const AttentionChange kNone;
    for (size_t i = 0; i < queries.size(); ++i)
      sum_changed_values(place, queries[i].change != nullptr ? *queries[i].change : kNone,
                         scores.sums[i], values.sums[i]);
  }
  for (size_t i = 0; i < queries.size(); ++i)
    if (queries[i].out != nullptr) std::copy_n(values.sums[i], size, queries[i].out);
}

}  // namespace

void HeadCache::fill(std::span<const float* const> rows, int64_t key_offset, int64_t value_offset,
                     int64_t size) {
  length = static_cast<int64_t>(rows.size());
  head_size = size;
  key_stride = round_up(length, kLanes);
  value_stride = round_up(size, kLanes);
  // One vector more: a segment may begin anywhere, and its last vector reach past the end.
  keys.assign(static_cast<size_t>(size * key_stride + kLanes), 0.0F);
  values.assign(static_cast<size_t>(length * value_stride), 0.0F);
  for (int64_t t = 0; t < length; ++t) {
    const float* key = rows[t] + key_offset;
    for (int64_t e = 0; e < size; ++e) keys[e * key_stride + t] = key[e];
    std::copy_n(rows[t] + value_offset, size, values.data() + t * value_stride);
  }
}

EdgeChange& AttentionChange::edge(int32_t key) {
  for (EdgeChange& change : edges)
    if (change.key == key) return change;
  edges.push_back({.key = key});
  return edges.back();
}

int64_t pattern_row_room(int64_t position) {
  return round_up(position + 1, kLanes) + kLanes;
}

void attend(const AttentionPlace& place, std::span<const AttentionQuery> queries,
            AttentionScratch& scratch) {
  ensure(!place.keys.empty() && place.keys.back().end > place.position,
         "attention was given too few keys");
  scratch.row_stride = pattern_row_room(place.position);
  const auto count = static_cast<int64_t>(queries.size());
  // It only grows: what a vector grows by is cleared.
  const auto grow = [](std::vector<float>& room, int64_t floats) {
    if (static_cast<int64_t>(room.size()) < floats) room.resize(floats);
  };
  grow(scratch.probabilities, count * scratch.row_stride);
  grow(scratch.sums, kQueries * place.keys.front().cache->value_stride);
  for (int64_t i = 0; i < count; i += kQueries)
    attend_some(place, queries.subspan(i, std::min<int64_t>(kQueries, count - i)),
                scratch.probabilities.data() + i * scratch.row_stride, scratch.row_stride,
                scratch.sums.data());
}

}  // namespace mechsweep
