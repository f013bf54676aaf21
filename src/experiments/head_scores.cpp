#include "experiments/head_scores.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "experiments/readouts.h"

namespace mechsweep {

namespace {

/// A mean that is NaN as long as nothing was added.
class Mean {
 public:
  void add(double value) {
    if (std::isnan(value)) return;
    sum_ += value;
    ++count_;
  }
  [[nodiscard]] double value() const {
    return count_ > 0 ? sum_ / static_cast<double>(count_)
                      : std::numeric_limits<double>::quiet_NaN();
  }

 private:
  double sum_ = 0.0;
  int64_t count_ = 0;
};

}  // namespace

HeadScores mean_head_scores(const Metric& metric, int64_t heads,
                            const std::vector<uint8_t>& counted) {
  const int64_t cells = metric.cells();
  const bool has_targets = !metric.axes.empty() && metric.axes.back().name == kTargetAxis;
  const int64_t targets = has_targets ? metric.axes.back().size : 1;
  const int64_t draws = cells / heads / targets;
  ensure(
      heads * draws * targets == cells && std::ssize(metric.values) == std::ssize(counted) * cells,
      "a metric has the axes that were planned");
  HeadScores scores;
  for (int64_t head = 0; head < heads; ++head) {
    Mean over_prompts;
    int64_t broken = 0;
    for (size_t p = 0; p < counted.size(); ++p) {
      if (counted[p] == 0) continue;
      Mean over_draws;
      for (int64_t draw = 0; draw < draws; ++draw) {
        Mean over_targets;
        for (int64_t t = 0; t < targets; ++t) {
          const int64_t i = static_cast<int64_t>(p) * cells + (head * draws + draw) * targets + t;
          const bool is_broken =
              (!metric.broken.empty() && metric.broken[i] != 0) || std::isinf(metric.values[i]);
          broken += is_broken ? 1 : 0;
          if (!is_broken) over_targets.add(metric.values[i]);
        }
        over_draws.add(over_targets.value());
      }
      over_prompts.add(over_draws.value());
    }
    scores.means.push_back(over_prompts.value());
    scores.broken.push_back(broken);
  }
  return scores;
}

}  // namespace mechsweep
