#include "stats/null_band.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "stats/interval.h"
#include "stats/p_value.h"

namespace mechsweep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Spread {
  double mean = 0.0;
  double sd = 0.0;  ///< 0 where the values agree up to rounding
};

Spread spread_of(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0.0, size = 0.0, squares = 0.0;
  for (const double value : values) {
    sum += value;
    size += std::abs(value);
  }
  const double mean = sum / count;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double sd = std::sqrt(squares / (count - 1.0));
  return {mean, sd <= kRoundingShare * size / count ? 0.0 : sd};
}

/// The finite values of one layer, ascending.
std::vector<double> column(std::span<const double> profiles, int64_t draws, int64_t layers,
                           int64_t layer) {
  std::vector<double> values;
  values.reserve(draws);
  for (int64_t draw = 0; draw < draws; ++draw) {
    const double value = profiles[draw * layers + layer];
    if (std::isfinite(value)) values.push_back(value);
  }
  std::sort(values.begin(), values.end());
  return values;
}

/// Quantile `p` of the numbers that are finite; 0 where there is none.
double quantile_of_finite(std::vector<double> values, double p) {
  const auto end =
      std::remove_if(values.begin(), values.end(), [](double v) { return !std::isfinite(v); });
  values.erase(end, values.end());
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  return quantile_of_sorted(values, p);
}

void add_simultaneous(NullBand& band, std::span<const double> profiles, int64_t draws,
                      std::span<const double> sd, BandShares shares) {
  const auto layers = std::ssize(sd);
  std::vector<double> largest(draws, -kInfinity), smallest(draws, kInfinity);
  for (int64_t draw = 0; draw < draws; ++draw) {
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (!(sd[layer] > 0.0)) continue;
      const double z = (profiles[draw * layers + layer] - band.median[layer]) / sd[layer];
      if (!std::isfinite(z)) continue;
      largest[draw] = std::max(largest[draw], z);
      smallest[draw] = std::min(smallest[draw], z);
    }
  }
  const double above = quantile_of_finite(std::move(largest), shares.upper);
  const double below = quantile_of_finite(std::move(smallest), shares.lower);
  for (int64_t layer = 0; layer < layers; ++layer) {
    band.simultaneous_lower.push_back(band.median[layer] + below * sd[layer]);
    band.simultaneous_upper.push_back(band.median[layer] + above * sd[layer]);
  }
}

}  // namespace

NullBand null_band(std::span<const double> profiles, int64_t draws, int64_t layers,
                   BandShares shares) {
  ensure(std::ssize(profiles) == draws * layers, "null profiles are [draws, layers]");
  if (!(0.0 <= shares.lower && shares.lower <= shares.upper && shares.upper <= 1.0))
    fail(ErrorKind::usage,
         "the band of a null goes from share {} to {}; give two ascending numbers from 0 to 1",
         shares.lower, shares.upper);
  NullBand band;
  std::vector<double> sd;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto values = column(profiles, draws, layers, layer);
    const bool enough = values.size() >= 2;
    band.median.push_back(enough ? quantile_of_sorted(values, 0.5) : kNan);
    band.lower.push_back(enough ? quantile_of_sorted(values, shares.lower) : kNan);
    band.upper.push_back(enough ? quantile_of_sorted(values, shares.upper) : kNan);
    sd.push_back(enough ? spread_of(values).sd : kNan);
  }
  add_simultaneous(band, profiles, draws, sd, shares);
  return band;
}

PeakTest studentised_peak(std::span<const double> profile, std::span<const double> profiles,
                          int64_t draws) {
  const auto layers = std::ssize(profile);
  ensure(draws >= 1 && std::ssize(profiles) == draws * layers,
         "null profiles are [draws, layers], with at least one draw");
  std::vector<double> largest(1 + draws, -kInfinity);  // the observed profile first
  std::vector<double> values(1 + draws);
  PeakTest test;
  for (int64_t layer = 0; layer < layers; ++layer) {
    values[0] = profile[layer];
    for (int64_t draw = 0; draw < draws; ++draw) values[1 + draw] = profiles[draw * layers + layer];
    const Spread spread = spread_of(values);
    if (!std::isfinite(spread.sd) || spread.sd == 0.0) continue;
    for (int64_t i = 0; i <= draws; ++i) {
      const double z = (values[i] - spread.mean) / spread.sd;
      if (i == 0 && z > largest[0]) test.layer = layer;
      largest[i] = std::max(largest[i], z);
    }
  }
  if (test.layer < 0) return {-1, kNan, kNan};
  test.statistic = largest[0];
  const double threshold = largest[0] - kRoundingShare * std::abs(largest[0]);
  const auto at_least = std::count_if(largest.begin() + 1, largest.end(),
                                      [threshold](double z) { return z >= threshold; });
  test.p_value = monte_carlo_p_value(at_least, draws);
  return test;
}

}  // namespace mechsweep
