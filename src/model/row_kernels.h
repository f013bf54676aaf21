#pragma once

#include <cstdint>
#include <span>

#include "model/model_config.h"

// The arithmetic between matrix products, one row at a time: a row's result depends on that row
// only, and every sum has a fixed order.

namespace mechsweep {

/// out = gain * row / sqrt(mean(row^2) + eps), all of `width` floats; out may be row.
void rms_norm_row(const float* row, const float* gain, int64_t width, float eps, float* out);
/// out = gain * (row - mean) / sqrt(variance + eps) + bias.
void layer_norm_row(const float* row, const float* gain, const float* bias, int64_t width,
                    float eps, float* out);

/// out = act(values), or act(values) * factor where factor is not null.
void activate_row(ActivationKind kind, const float* values, const float* factor, int64_t count,
                  float* out);

/// to += from
inline void add_row(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

/// Sums parts[0], parts[1], ... of `count` floats into parts[0], in the order of a binary tree over
/// their indices: [0, n) as sum[0, n/2) + sum[n/2, n). Overwrites the other parts.
void tree_sum_into_first(std::span<float* const> parts, int64_t count);

/// Turns each of `heads` heads of `head_size` floats: pair (i, i + half) by the angle whose cosine
/// is turns[i] and sine turns[half + i], i < half.
void rotate_heads(float* row, int heads, int64_t head_size, const float* turns, int64_t half);
/// The same for pairs of neighbours, (2 i, 2 i + 1).
void rotate_neighbours(float* row, int heads, int64_t head_size, const float* turns, int64_t half);

/// Each of `count` values x becomes cap tanh(scale x / cap); minus infinity, of a mask, stays.
void cap_row(float* values, int64_t count, float scale, float cap);

}  // namespace mechsweep
