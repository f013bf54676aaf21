#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stats/p_value.h"

namespace mechsweep {

/// A head by its layer and its number there.
struct HeadPlace {
  int32_t layer = 0;
  int32_t head = 0;
  bool operator==(const HeadPlace&) const = default;
};

/// From where a random head is drawn.
enum class DrawMatch {
  uniform,  ///< from all candidates
  layer,    ///< from each layer as many as were chosen there
};

/// Whether the heads that were chosen can be drawn.
///
/// For a p-value they have to be: it asks how often a random set does as well, and the chosen set
/// is one of those. Without them the draws are worse than random sets by what the chosen heads are
/// better, or merely luckier: with one head chosen out of H in a layer, H being 8, the luckiest of
/// eight equal heads beats every draw, one time in eight. Without them the draws are a control that
/// does not contain the mechanism, for the size of an effect, not for a p-value.
enum class ChosenHeads { allowed, excluded };

/// What random sets of heads are asked for.
struct HeadDrawOptions {
  int64_t draws = 200;
  DrawMatch match = DrawMatch::uniform;
  ChosenHeads chosen = ChosenHeads::allowed;
  uint64_t seed = 0;
  std::string purpose;  ///< what the random numbers are for; each k its own
};

/// `draws` sets of as many heads as `chosen` has: indices into `candidates`, [draws, k] row-major,
/// ascending within a set. Within a set no head comes twice (each set is equally likely); sets are
/// independent and may repeat. Draw b depends on (seed, purpose, b) only, given the candidates in
/// their order.
///
/// `candidates` has no head twice, and holds every head of `chosen`, which has none twice. Throws
/// Error{usage} when draws < 1, chosen is empty, or there are too few heads to draw from (only
/// where chosen ones are excluded), naming the layer.
std::vector<int32_t> draw_heads(std::span<const HeadPlace> candidates,
                                std::span<const HeadPlace> chosen, const HeadDrawOptions& options);

/// An observed number beside those of random draws.
struct DrawComparison {
  double observed = 0.0;
  int64_t draws = 0;     ///< that are numbers; NaN ones are left out
  int64_t at_least = 0;  ///< of those, as extreme as the observed number or more
  double p_value = 1.0;  ///< (1 + at_least) / (1 + draws)
  double mean = 0.0;     ///< of the draws
  double sd = 0.0;       ///< of the draws, divisor n - 1
  double z = 0.0;        ///< (observed - mean) / sd, as description only: no normal law here
  std::vector<double> quantiles;  ///< of the draws at the shares asked for (quantile_of_sorted)
};

/// Compares. Two-sided means twice the smaller one-sided p-value, at most 1, as the draws need not
/// lie around 0; `at_least` is then that of the smaller side. Ties (within kRoundingShare of the
/// larger size) count as extreme. Without draws, or when `observed` is NaN, every number is NaN; sd
/// and z also with a single draw, z where all draws agree. Shares lie in [0, 1].
DrawComparison compare_with_draws(double observed, std::span<const double> draws,
                                  std::span<const double> shares, Alternative alternative);

}  // namespace mechsweep
