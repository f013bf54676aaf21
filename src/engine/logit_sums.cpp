#include "engine/logit_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "model/vector_math.h"

namespace mechsweep {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

using Double16 __attribute__((vector_size(kLanes * sizeof(double)))) = double;

MECHSWEEP_INLINE Double16 widen(Float16 v) {
  return __builtin_convertvector(v, Double16);
}

MECHSWEEP_INLINE double sum_of(Double16 v) {
  double lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = v[i];
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

/// Largest logit; -infinity where there is NaN only.
MECHSWEEP_MULTIVERSION
float largest_of(const float* logits, int64_t count) {
  Float16 largest = Float16{} + kLowest;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Float16 x = load_first(logits + i, count - i, kLowest);
    largest = x > largest ? x : largest;
  }
  return max_lanes(largest);
}

/// Sum of exp(logit - largest), and of the logits themselves, in double precision.
MECHSWEEP_MULTIVERSION
void sum_both(const float* logits, int64_t count, float largest, double* exp_sum, double* sum) {
  Double16 exps{};
  Double16 plain{};
  for (int64_t i = 0; i < count; i += kLanes) {
    exps += widen(exp_nonpositive(load_first(logits + i, count - i, kLowest) - largest));
    plain += widen(load_first(logits + i, count - i));
  }
  *exp_sum = sum_of(exps);
  *sum = sum_of(plain);
}

/// Sums of exp(p - top) and of exp(p - top) (p - q).
MECHSWEEP_MULTIVERSION
void sum_divergence(const float* p, const float* q, int64_t count, float top, double* weights,
                    double* weighted) {
  Double16 sum{};
  Double16 product{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Float16 x = load_first(p + i, count - i, kLowest);
    const Double16 weight = widen(exp_nonpositive(x - top));
    const Float16 finite = load_first(p + i, count - i);
    sum += weight;
    product += weight * (widen(finite) - widen(load_first(q + i, count - i)));
  }
  *weights = sum_of(sum);
  *weighted = sum_of(product);
}

double logsumexp_of(const float* logits, int64_t count) {
  const LogitSums sums = sum_logits(logits, count, 0);
  return static_cast<double>(sums.largest) + std::log(sums.exp_sum);
}

}  // namespace

LogitSums sum_logits(const float* logits, int64_t count, int64_t first_token) {
  LogitSums sums;
  sums.largest = largest_of(logits, count);
  const float* best = std::find(logits, logits + count, sums.largest);
  sums.argmax = static_cast<int32_t>(first_token + (best < logits + count ? best - logits : 0));
  sum_both(logits, count, sums.largest, &sums.exp_sum, &sums.sum);
  // A part of nothing but -infinity adds nothing: the exponentials of its differences are NaN.
  if (sums.largest == kLowest) sums.exp_sum = 0.0;
  // The vector exponential answers NaN with 0; a sum that hides it would be a wrong number.
  if (std::isnan(sums.sum)) sums.exp_sum = sums.sum;
  return sums;
}

VocabularySums join_logits(std::span<const LogitSums> parts, int64_t vocab) {
  VocabularySums joined;
  float largest = kLowest;
  double sum = 0.0;
  for (const LogitSums& part : parts) {
    if (part.largest > largest || joined.argmax < 0) {
      largest = part.largest;
      joined.argmax = part.argmax;
    }
    sum += part.sum;
  }
  double exp_sum = 0.0;
  for (const LogitSums& part : parts)
    exp_sum +=
        part.exp_sum * std::exp(static_cast<double>(part.largest) - static_cast<double>(largest));
  joined.mean = sum / static_cast<double>(vocab);
  joined.logsumexp = static_cast<double>(largest) + std::log(exp_sum);
  return joined;
}

double kl_divergence(const float* p, const float* q, int64_t count) {
  const float top = largest_of(p, count);
  double weights = 0.0;
  double weighted = 0.0;
  sum_divergence(p, q, count, top, &weights, &weighted);
  const double logsumexp_p = static_cast<double>(top) + std::log(weights);
  return weighted / weights - logsumexp_p + logsumexp_of(q, count);
}

int32_t count_larger(const float* logits, int64_t count, float logit) {
  if (std::isnan(logit)) return -1;
  return static_cast<int32_t>(
      std::count_if(logits, logits + count, [logit](float other) { return other > logit; }));
}

std::vector<std::pair<int32_t, float>> largest_logits(const float* logits, int64_t count,
                                                      int64_t k) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  k = std::min(k, count);
  // NaN compares with nothing: it would break the order, so it counts as the lowest.
  const auto key = [logits](int32_t id) { return std::isnan(logits[id]) ? kLowest : logits[id]; };
  std::partial_sort(ids.begin(), ids.begin() + k, ids.end(), [&](int32_t a, int32_t b) {
    return key(a) != key(b) ? key(a) > key(b) : a < b;
  });
  std::vector<std::pair<int32_t, float>> top;
  for (int64_t i = 0; i < k; ++i) top.emplace_back(ids[i], logits[ids[i]]);
  return top;
}

}  // namespace mechsweep
