#include "model/attention.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "model/vector_math.h"

namespace mechsweep {

void HeadCache::fill(const float* k, const float* v, int64_t rows, int64_t size,
                     int64_t row_stride) {
  length = rows;
  head_size = size;
  key_stride = round_up(rows, kLanes);
  value_stride = round_up(size, kLanes);
  keys.assign(static_cast<size_t>(size * key_stride), 0.0F);
  values.assign(static_cast<size_t>(rows * value_stride), 0.0F);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t e = 0; e < size; ++e) keys[e * key_stride + t] = k[t * row_stride + e];
    std::copy_n(v + t * row_stride, size, values.data() + t * value_stride);
  }
}

namespace {

const Float16 kLaneIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/// Adds up `terms` products for Blocks vectors that lie side by side: sums[b] = sum over i of
/// factors[i] * rows[i * stride + 16 b]. Several sums at once hide the latency of each; every one
/// still adds its terms in the order of i.
template <int Blocks>
MECHSWEEP_INLINE void weighted_rows(const float* factors, int64_t terms, const float* rows,
                                    int64_t stride, float* sums) {
  Float16 total[Blocks] = {};
  for (int64_t i = 0; i < terms; ++i)
    for (int b = 0; b < Blocks; ++b) total[b] += factors[i] * load(rows + i * stride + b * kLanes);
  for (int b = 0; b < Blocks; ++b) store(sums + b * kLanes, total[b]);
}

MECHSWEEP_INLINE void weighted_sum(const float* factors, int64_t terms, const float* rows,
                                   int64_t stride, int64_t blocks, float* sums) {
  for (; blocks >= 4; blocks -= 4, rows += 4 * kLanes, sums += 4 * kLanes)
    weighted_rows<4>(factors, terms, rows, stride, sums);
  for (; blocks >= 2; blocks -= 2, rows += 2 * kLanes, sums += 2 * kLanes)
    weighted_rows<2>(factors, terms, rows, stride, sums);
  if (blocks > 0) weighted_rows<1>(factors, terms, rows, stride, sums);
}

}  // namespace

MECHSWEEP_MULTIVERSION
void attend_row(const HeadCache& cache, const float* query, int64_t position, float scale,
                float* probabilities, float* out) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  const int64_t used = round_up(position + 1, kLanes);
  weighted_sum(query, cache.head_size, cache.keys.data(), cache.key_stride, used / kLanes,
               probabilities);
  Float16 largest = Float16{} + kMasked;
  for (int64_t j = 0; j < used; j += kLanes) {
    const Int16 visible = kLaneIndex <= static_cast<float>(position - j);
    const Float16 score = visible ? load(probabilities + j) * scale : kMasked;
    largest = score > largest ? score : largest;
    store(probabilities + j, score);
  }
  const float top = max_lanes(largest);
  Float16 total{};
  for (int64_t j = 0; j < used; j += kLanes) {
    const Float16 weight = exp_nonpositive(load(probabilities + j) - top);
    total += weight;
    store(probabilities + j, weight);
  }
  const float sum = sum_lanes(total);
  for (int64_t j = 0; j < used; j += kLanes)
    store(probabilities + j, load(probabilities + j) / sum);
  std::fill(probabilities + used, probabilities + cache.key_stride, 0.0F);

  // Whole groups of vectors go straight to `out`; a remainder would write past its end.
  const int64_t whole = cache.head_size / kLanes;
  const int64_t rest = cache.head_size - whole * kLanes;
  weighted_sum(probabilities, position + 1, cache.values.data(), cache.value_stride, whole, out);
  if (rest > 0) {
    float last[kLanes];
    weighted_sum(probabilities, position + 1, cache.values.data() + whole * kLanes,
                 cache.value_stride, 1, last);
    std::copy_n(last, rest, out + whole * kLanes);
  }
}

}  // namespace mechsweep
