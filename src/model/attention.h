#pragma once

#include <cstdint>
#include <vector>

namespace mechsweep {

/// Keys and values of one key/value head of one sequence, laid out for attend_row: keys transposed
/// [E, T padded to 16], values [T, E padded to 16]; padding is zero.
struct HeadCache {
  int64_t length = 0;        ///< T
  int64_t head_size = 0;     ///< E
  int64_t key_stride = 0;    ///< T rounded up to 16
  int64_t value_stride = 0;  ///< E rounded up to 16
  std::vector<float> keys;
  std::vector<float> values;

  /// Fills the cache from rows [T, E] that lie `row_stride` floats apart.
  void fill(const float* k, const float* v, int64_t rows, int64_t size, int64_t row_stride);
};

/// Causal attention of one query row (E floats, at position `position`) over keys 0..position:
/// softmax(scale * q . k) then the weighted sum of values, all in fp32. The order of every sum is
/// fixed by the absolute key index, so the result depends on the query and those keys only: not on
/// the batch, on later keys, or on which other queries are computed. `probabilities` (key_stride
/// floats) receives the row of the attention pattern, zero past `position`; `out` E floats.
void attend_row(const HeadCache& cache, const float* query, int64_t position, float scale,
                float* probabilities, float* out);

}  // namespace mechsweep
