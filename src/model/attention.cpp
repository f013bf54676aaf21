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

}  // namespace

MECHSWEEP_MULTIVERSION
void attend_row(const HeadCache& cache, const float* query, int64_t position, float scale,
                float* probabilities, float* out) {
  const int64_t used = round_up(position + 1, kLanes);
  Float16 largest = broadcast(-std::numeric_limits<float>::infinity());
  for (int64_t j = 0; j < used; j += kLanes) {
    Float16 score{};
    for (int64_t e = 0; e < cache.head_size; ++e)
      score += broadcast(query[e]) * load(&cache.keys[e * cache.key_stride + j]);
    score *= scale;
    const Int16 visible = kLaneIndex + static_cast<float>(j) <= static_cast<float>(position);
    score = visible ? score : broadcast(-std::numeric_limits<float>::infinity());
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
  const Float16 sum = broadcast(sum_lanes(total));
  for (int64_t j = 0; j < used; j += kLanes)
    store(probabilities + j, load(probabilities + j) / sum);
  std::fill(probabilities + used, probabilities + cache.key_stride, 0.0F);

  for (int64_t e = 0; e < cache.head_size; e += kLanes) {
    Float16 mixed{};
    for (int64_t j = 0; j <= position; ++j)
      mixed += broadcast(probabilities[j]) * load(&cache.values[j * cache.value_stride + e]);
    for (int64_t lane = 0; lane < std::min<int64_t>(kLanes, cache.head_size - e); ++lane)
      out[e + lane] = mixed[lane];
  }
}

}  // namespace mechsweep
