#include "stats/profile.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "stats/ranking.h"

namespace mechsweep {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

std::vector<double> layer_profiles(std::span<const double> values, int64_t prompts, int64_t layers,
                                   int64_t heads) {
  const std::vector<uint8_t> all(layers * heads, 1);
  return layer_profiles(values, prompts, layers, heads, all);
}

std::vector<double> layer_profiles(std::span<const double> values, int64_t prompts, int64_t layers,
                                   int64_t heads, std::span<const uint8_t> chosen) {
  ensure(std::ssize(values) == prompts * layers * heads, "values are [prompts, layers, heads]");
  ensure(std::ssize(chosen) == layers * heads, "chosen heads are [layers, heads]");
  std::vector<double> profile(prompts * layers, kNan);
  for (int64_t row = 0; row < prompts * layers; ++row) {
    const double* of_row = values.data() + row * heads;
    const uint8_t* counts = chosen.data() + row % layers * heads;
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t head = 0; head < heads; ++head) {
      if (counts[head] == 0 || std::isnan(of_row[head])) continue;
      sum += of_row[head];
      ++count;
    }
    if (count > 0) profile[row] = sum / static_cast<double>(count);
  }
  return profile;
}

int64_t top_head_count(int64_t heads, double fraction) {
  if (!(fraction > 0.0 && fraction <= 1.0))
    fail(ErrorKind::usage, "top fraction of heads is {}; give a number above 0 and at most 1",
         fraction);
  // A tenth of ten heads is one, whatever the last bit of the fraction.
  const double exact = fraction * static_cast<double>(heads);
  return std::max<int64_t>(1, static_cast<int64_t>(std::floor(exact * (1.0 + 1e-12))));
}

std::vector<uint8_t> top_heads(std::span<const double> means, int64_t layers, int64_t heads,
                               double fraction) {
  ensure(std::ssize(means) == layers * heads, "means are [layers, heads]");
  const int64_t count = top_head_count(heads, fraction);
  std::vector<uint8_t> chosen(means.size(), 0);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto of_layer = means.subspan(layer * heads, heads);
    const auto order = order_descending(of_layer);
    for (int64_t rank = 0; rank < std::min(count, heads); ++rank)
      if (!std::isnan(of_layer[order[rank]])) chosen[layer * heads + order[rank]] = 1;
  }
  return chosen;
}

std::vector<double> top_profile(std::span<const double> scores, int64_t layers, int64_t heads,
                                double fraction) {
  ensure(std::ssize(scores) == layers * heads, "scores are [layers, heads]");
  const int64_t count = top_head_count(heads, fraction);
  if (count >= heads) return layer_profiles(scores, 1, layers, heads);
  std::vector<double> profile(layers, kNan);
  std::vector<double> numbers;
  for (int64_t layer = 0; layer < layers; ++layer) {
    numbers.clear();
    for (const double score : scores.subspan(layer * heads, heads))
      if (!std::isnan(score)) numbers.push_back(score);
    const int64_t used = std::min<int64_t>(count, std::ssize(numbers));
    if (used == 0) continue;
    std::partial_sort(numbers.begin(), numbers.begin() + used, numbers.end(), std::greater<>());
    double sum = 0.0;
    for (int64_t i = 0; i < used; ++i) sum += numbers[i];
    profile[layer] = sum / static_cast<double>(used);
  }
  return profile;
}

}  // namespace mechsweep
