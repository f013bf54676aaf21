#include "stats/random_draws.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/error.h"
#include "core/random.h"
#include "stats/interval.h"

namespace mechsweep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Heads to draw from, and how many.
struct Pool {
  std::vector<int32_t> members;  ///< indices of candidates
  uint32_t count = 0;
};

/// One pool for all, or one per layer, in ascending order of layers.
std::vector<Pool> pools_of(std::span<const HeadPlace> candidates, std::span<const HeadPlace> chosen,
                           const HeadDrawOptions& options) {
  std::map<int32_t, Pool> by_layer;
  const auto pool_of = [&](const HeadPlace& place) -> Pool& {
    return by_layer[options.match == DrawMatch::layer ? place.layer : 0];
  };
  size_t found = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto times = std::count(chosen.begin(), chosen.end(), candidates[i]);
    ensure(times <= 1, "no head is chosen twice");
    found += times;
    pool_of(candidates[i]).count += static_cast<uint32_t>(times);
    if (times == 0 || options.chosen == ChosenHeads::allowed)
      pool_of(candidates[i]).members.push_back(static_cast<int32_t>(i));
  }
  ensure(found == chosen.size(), "every chosen head is one candidate");
  std::vector<Pool> pools;
  for (auto& [layer, pool] : by_layer) {
    if (pool.count > pool.members.size())
      fail(ErrorKind::usage,
           "random heads: {} were chosen{}, but only {} others are there to draw; choose fewer, "
           "or allow the chosen ones to be drawn",
           pool.count, options.match == DrawMatch::layer ? fmt::format(" in layer {}", layer) : "",
           pool.members.size());
    if (pool.count > 0) pools.push_back(std::move(pool));
  }
  return pools;
}

/// Draws at least as large, once `observed` allows for rounding.
int64_t count_at_least(std::span<const double> draws, double observed, double sign) {
  return std::count_if(draws.begin(), draws.end(), [observed, sign](double draw) {
    const double size = std::max(std::abs(draw), std::abs(observed));
    return sign * draw >= sign * observed - kRoundingShare * size;
  });
}

void add_p_value(DrawComparison& result, std::span<const double> draws, Alternative alternative) {
  const int64_t large = count_at_least(draws, result.observed, 1.0);
  const int64_t small = count_at_least(draws, result.observed, -1.0);
  switch (alternative) {
    case Alternative::greater:
      result.at_least = large;
      break;
    case Alternative::less:
      result.at_least = small;
      break;
    case Alternative::two_sided:
      result.at_least = std::min(large, small);
      break;
  }
  result.p_value = monte_carlo_p_value(result.at_least, result.draws);
  if (alternative == Alternative::two_sided) result.p_value = std::min(1.0, 2.0 * result.p_value);
}

}  // namespace

std::vector<int32_t> draw_heads(std::span<const HeadPlace> candidates,
                                std::span<const HeadPlace> chosen, const HeadDrawOptions& options) {
  if (options.draws < 1)
    fail(ErrorKind::usage,
         "random heads: {} draws are asked for; give at least 1, hundreds advised", options.draws);
  if (chosen.empty())
    fail(ErrorKind::usage, "random heads: no head was chosen, so there is none to compare with");
  const std::vector<Pool> pools = pools_of(candidates, chosen, options);
  std::vector<int32_t> result;
  result.reserve(options.draws * chosen.size());
  for (int64_t draw = 0; draw < options.draws; ++draw) {
    RandomStream stream(options.seed, options.purpose, static_cast<uint64_t>(draw));
    for (const Pool& pool : pools)
      for (const uint32_t at : stream.sample_without_replacement(
               static_cast<uint32_t>(pool.members.size()), pool.count))
        result.push_back(pool.members[at]);
    std::sort(result.end() - std::ssize(chosen), result.end());
  }
  return result;
}

DrawComparison compare_with_draws(double observed, std::span<const double> draws,
                                  std::span<const double> shares, Alternative alternative) {
  std::vector<double> sorted;
  for (const double draw : draws)
    if (!std::isnan(draw)) sorted.push_back(draw);
  std::sort(sorted.begin(), sorted.end());
  DrawComparison result{.observed = observed, .draws = std::ssize(sorted)};
  if (std::isnan(observed) || sorted.empty()) {
    result.p_value = result.mean = result.sd = result.z = kNan;
    result.quantiles.assign(shares.size(), kNan);
    return result;
  }
  add_p_value(result, sorted, alternative);
  const auto count = static_cast<double>(sorted.size());
  double sum = 0.0, squares = 0.0;
  for (const double draw : sorted) sum += draw;
  result.mean = sum / count;
  for (const double draw : sorted) squares += (draw - result.mean) * (draw - result.mean);
  result.sd = sorted.size() > 1 ? std::sqrt(squares / (count - 1.0)) : kNan;
  const bool is_spread = sorted.back() > sorted.front();
  result.z = is_spread ? (observed - result.mean) / result.sd : kNan;
  for (const double share : shares) result.quantiles.push_back(quantile_of_sorted(sorted, share));
  return result;
}

}  // namespace mechsweep
