#include "stats/profile.h"

#include <cmath>
#include <limits>

#include "core/error.h"

namespace mechsweep {

std::vector<double> layer_profiles(std::span<const double> values, int64_t prompts, int64_t layers,
                                   int64_t heads) {
  ensure(std::ssize(values) == prompts * layers * heads, "values are [prompts, layers, heads]");
  std::vector<double> profile(prompts * layers, std::numeric_limits<double>::quiet_NaN());
  for (int64_t row = 0; row < prompts * layers; ++row) {
    double sum = 0.0;
    int64_t count = 0;
    for (const double value : values.subspan(row * heads, heads)) {
      if (std::isnan(value)) continue;
      sum += value;
      ++count;
    }
    if (count > 0) profile[row] = sum / static_cast<double>(count);
  }
  return profile;
}

}  // namespace mechsweep
