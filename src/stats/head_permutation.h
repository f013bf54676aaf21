#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stats/null_band.h"

namespace mechsweep {

/// What a permutation of heads across layers is asked for.
struct HeadPermutationOptions {
  int64_t draws = 10000;      ///< N, at least 1
  double top_fraction = 1.0;  ///< of the profile: 1 is the mean over heads (see top_profile)
  BandShares shares;
  uint64_t seed = 0;
  std::string purpose;  ///< what the random numbers are for
};

/// A profile beside those of heads put at random over all layers.
struct HeadPermutation {
  std::vector<double> profile;  ///< [L], of the heads where they are (top_profile)
  NullBand band;                ///< [L] each
  int64_t peak = -1;            ///< layer of the largest value, ties to the lower one
  double peak_value = 0.0;
  /// (1 + draws whose largest value is at least peak_value) / (1 + N): whether high heads gather in
  /// some layer at all, wherever it is. NaN without a peak.
  double p_value = 1.0;
};

/// Permutes head `scores` [L, H] over all layers and heads N times and profiles each. The null says
/// that a head's score has nothing to do with its layer; values within kRoundingShare of the peak
/// count as reaching it. Heads that are NaN stay where they are, so that every layer keeps its
/// number of heads. Draw b depends on (seed, purpose, b) only. Throws Error{usage} when draws < 1.
///
/// The peak is tested best on the mean over heads. Of the k top heads (top_head_count) none can do
/// better than be the k largest in one layer, which happens by chance with probability
/// (H - 1) / (LH - 1) * ... * (H - k + 1) / (LH - k + 1): no p-value is smaller, and with k = 1 it
/// is always 1, since the largest head is the peak of every arrangement.
HeadPermutation permute_heads(std::span<const double> scores, int64_t layers, int64_t heads,
                              const HeadPermutationOptions& options);

}  // namespace mechsweep
