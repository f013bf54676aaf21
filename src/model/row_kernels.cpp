#include "model/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "model/vector_math.h"

namespace mechsweep {

namespace {

MECHSWEEP_INLINE Float16 activated(ActivationKind kind, Float16 x) {
  if (kind == ActivationKind::silu) return x * sigmoid(x);
  if (kind == ActivationKind::relu) return x < 0.0F ? Float16{} : x;
  // 0.5 (1 + tanh(y)) is sigmoid(2 y): Hendrycks and Gimpel 2016, the tanh approximation.
  constexpr float kTwiceRoot = 1.5957691216057308F;  // 2 sqrt(2 / pi)
  return x * sigmoid(kTwiceRoot * (x + 0.044715F * x * x * x));
}

/// x (1 + erf(x / sqrt(2))) / 2, one number at a time: no model that is run for speed uses it.
void exact_gelu_row(const float* values, const float* factor, int64_t count, float* out) {
  constexpr float kRootHalf = 0.70710678118654752F;
  for (int64_t i = 0; i < count; ++i) {
    const float y = 0.5F * values[i] * (1.0F + std::erf(values[i] * kRootHalf));
    out[i] = factor != nullptr ? y * factor[i] : y;
  }
}

/// The additions (to, from) of the tree over parts [begin, end), in an order that can be followed.
void list_additions(size_t begin, size_t end, std::vector<std::pair<size_t, size_t>>& additions) {
  if (end - begin == 1) return;
  const size_t middle = begin + (end - begin) / 2;
  list_additions(begin, middle, additions);
  list_additions(middle, end, additions);
  additions.emplace_back(begin, middle);
}

}  // namespace

MECHSWEEP_MULTIVERSION
void rms_norm_row(const float* row, const float* gain, int64_t width, float eps, float* out) {
  Float16 squares{};
  for (int64_t d = 0; d < width; d += kLanes) {
    const Float16 x = load_first(row + d, width - d);
    squares += x * x;
  }
  const float mean = sum_lanes(squares) / static_cast<float>(width);
  const float factor = 1.0F / std::sqrt(mean + eps);
  for (int64_t d = 0; d < width; d += kLanes)
    store_first(out + d,
                load_first(gain + d, width - d) * (load_first(row + d, width - d) * factor),
                width - d);
}

MECHSWEEP_MULTIVERSION
void layer_norm_row(const float* row, const float* gain, const float* bias, int64_t width,
                    float eps, float* out) {
  Float16 total{};
  for (int64_t d = 0; d < width; d += kLanes) total += load_first(row + d, width - d);
  const float mean = sum_lanes(total) / static_cast<float>(width);
  Float16 squares{};
  for (int64_t d = 0; d < width; d += kLanes) {
    // Lanes past the end hold the mean, so that they add nothing.
    const Float16 x = load_first(row + d, width - d, mean) - mean;
    squares += x * x;
  }
  const float factor = 1.0F / std::sqrt(sum_lanes(squares) / static_cast<float>(width) + eps);
  for (int64_t d = 0; d < width; d += kLanes) {
    const int64_t lanes = width - d;
    const Float16 x = (load_first(row + d, lanes) - mean) * factor;
    store_first(out + d, load_first(gain + d, lanes) * x + load_first(bias + d, lanes), lanes);
  }
}

MECHSWEEP_MULTIVERSION
void activate_row(ActivationKind kind, const float* values, const float* factor, int64_t count,
                  float* out) {
  if (kind == ActivationKind::gelu_erf) return exact_gelu_row(values, factor, count, out);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t lanes = count - i;
    const Float16 y = activated(kind, load_first(values + i, lanes));
    store_first(out + i, factor != nullptr ? y * load_first(factor + i, lanes) : y, lanes);
  }
}

namespace {

MECHSWEEP_MULTIVERSION
void add_in_order(std::span<float* const> parts,
                  std::span<const std::pair<size_t, size_t>> additions, int64_t count) {
  // Block by block, so that a block of every part stays in the innermost cache.
  constexpr int64_t kBlock = 512;
  for (int64_t first = 0; first < count; first += kBlock)
    for (const auto& [to, from] : additions)
      for (int64_t i = first; i < std::min(count, first + kBlock); i += kLanes)
        store_first(parts[to] + i,
                    load_first(parts[to] + i, count - i) + load_first(parts[from] + i, count - i),
                    count - i);
}

}  // namespace

void tree_sum_into_first(std::span<float* const> parts, int64_t count) {
  ensure(!parts.empty(), "the sum of no parts was asked for");
  std::vector<std::pair<size_t, size_t>> additions;
  list_additions(0, parts.size(), additions);
  add_in_order(parts, additions, count);
}

MECHSWEEP_MULTIVERSION
void rotate_heads(float* row, int heads, int64_t head_size, const float* turns, int64_t half) {
  for (int head = 0; head < heads; ++head)
    for (int64_t i = 0; i < half; i += kLanes) {
      float* x = row + head * head_size + i;
      const int64_t lanes = half - i;
      const Float16 cosine = load_first(turns + i, lanes);
      const Float16 sine = load_first(turns + half + i, lanes);
      const Float16 a = load_first(x, lanes);
      const Float16 b = load_first(x + half, lanes);
      store_first(x, a * cosine - b * sine, lanes);
      store_first(x + half, b * cosine + a * sine, lanes);
    }
}

void rotate_neighbours(float* row, int heads, int64_t head_size, const float* turns, int64_t half) {
  for (int head = 0; head < heads; ++head)
    for (int64_t i = 0; i < half; ++i) {
      float* x = row + head * head_size + 2 * i;
      const float a = x[0];
      const float b = x[1];
      x[0] = a * turns[i] - b * turns[half + i];
      x[1] = b * turns[i] + a * turns[half + i];
    }
}

namespace {

/// Within 1e-7: a series around zero, elsewhere (1 - e^-2|x|) / (1 + e^-2|x|).
MECHSWEEP_INLINE Float16 tanh_lanes(Float16 x) {
  const Float16 size = x < 0.0F ? -x : x;
  const Float16 square = x * x;
  const Float16 near =
      x * (1.0F +
           square * (-1.0F / 3.0F + square * (2.0F / 15.0F + square * (-17.0F / 315.0F +
                                                                       square * 62.0F / 2835.0F))));
  const Float16 decay = exp_nonpositive(-2.0F * size);
  const Float16 far = (1.0F - decay) / (1.0F + decay);
  return size < 0.25F ? near : (x < 0.0F ? -far : far);
}

}  // namespace

MECHSWEEP_MULTIVERSION
void cap_row(float* values, int64_t count, float scale, float cap) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Float16 x = load_first(values + i, count - i) * scale;
    const Float16 capped = cap * tanh_lanes(x / cap);
    store_first(values + i, x == kMasked ? x : capped, count - i);
  }
}

}  // namespace mechsweep
