#include "stats/head_permutation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/random.h"
#include "stats/p_value.h"
#include "stats/profile.h"
#include "stats/ranking.h"

namespace mechsweep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Fisher and Yates.
void shuffle(std::span<double> values, RandomStream& stream) {
  for (auto left = static_cast<uint32_t>(values.size()); left > 1; --left)
    std::swap(values[left - 1], values[stream.below(left)]);
}

double largest_of(std::span<const double> profile) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double value : profile)
    if (value > largest) largest = value;  // false for NaN
  return largest;
}

}  // namespace

HeadPermutation permute_heads(std::span<const double> scores, int64_t layers, int64_t heads,
                              const HeadPermutationOptions& options) {
  ensure(std::ssize(scores) == layers * heads && layers >= 1, "scores are [layers, heads]");
  if (options.draws < 1)
    fail(ErrorKind::usage,
         "head permutation: draws is {}; at least 1 is needed, 1000 or more "
         "advised",
         options.draws);
  std::vector<size_t> places;
  double size = 0.0;
  for (size_t place = 0; place < scores.size(); ++place) {
    if (std::isnan(scores[place])) continue;
    places.push_back(place);
    size = std::max(size, std::abs(scores[place]));
  }
  HeadPermutation result;
  result.profile = top_profile(scores, layers, heads, options.top_fraction);
  if (!places.empty()) result.peak = order_descending(result.profile)[0];
  result.peak_value = result.peak < 0 ? kNan : result.profile[result.peak];

  std::vector<double> profiles;
  profiles.reserve(options.draws * layers);
  std::vector<double> permuted(scores.begin(), scores.end());
  std::vector<double> shuffled(places.size());
  int64_t at_least = 0;
  for (int64_t draw = 0; draw < options.draws; ++draw) {
    RandomStream stream(options.seed, options.purpose, static_cast<uint64_t>(draw));
    for (size_t i = 0; i < places.size(); ++i) shuffled[i] = scores[places[i]];
    shuffle(shuffled, stream);
    for (size_t i = 0; i < places.size(); ++i) permuted[places[i]] = shuffled[i];
    const auto profile = top_profile(permuted, layers, heads, options.top_fraction);
    if (largest_of(profile) >= result.peak_value - kRoundingShare * size) ++at_least;
    profiles.insert(profiles.end(), profile.begin(), profile.end());
  }
  result.band = null_band(profiles, options.draws, layers, options.shares);
  result.p_value = result.peak < 0 ? kNan : monte_carlo_p_value(at_least, options.draws);
  return result;
}

}  // namespace mechsweep
