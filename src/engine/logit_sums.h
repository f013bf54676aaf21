#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace mechsweep {

/// Logits of part of a vocabulary, reduced. Every sum has an order fixed by the token ids.
struct LogitSums {
  float largest = 0.0F;
  int32_t argmax = -1;   ///< lowest id among equals
  double exp_sum = 0.0;  ///< of exp(logit - largest)
  double sum = 0.0;
};

/// Reduces `count` neighbouring logits, the first of which is `first_token`'s. NaN among them gives
/// NaN sums.
LogitSums sum_logits(const float* logits, int64_t count, int64_t first_token);

/// The parts of one vocabulary joined, in order: natural logarithm of the sum of exp, mean, argmax.
struct VocabularySums {
  double logsumexp = 0.0;
  double mean = 0.0;
  int32_t argmax = -1;
};
VocabularySums join_logits(std::span<const LogitSums> parts, int64_t vocab);

/// KL(p || q) in nats of the distributions softmax(p) and softmax(q) over `count` logits.
double kl_divergence(const float* p, const float* q, int64_t count);

/// Number of logits larger than `logit`; -1 when it is NaN.
int32_t count_larger(const float* logits, int64_t count, float logit);

/// The k largest logits with their tokens, largest first, the lower id first among equals.
std::vector<std::pair<int32_t, float>> largest_logits(const float* logits, int64_t count,
                                                      int64_t k);

}  // namespace mechsweep
