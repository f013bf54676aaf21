#include "experiments/control_summary.h"

#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "experiments/head_controls.h"
#include "experiments/stored_readings.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kShares[] = {0.025, 0.05, 0.5, 0.95, 0.975};

/// How the numbers of random sets lie: [prompt, draw, place, match, operation, target].
struct Sizes {
  int64_t draws = 0, places = 0, matches = 0, operations = 0, targets = 0;
};

/// Chosen and random sets of a run.
class Sets {
 public:
  explicit Sets(const StoredRun& run)
      : run_(run),
        base_(stored_readings(run, "base/")),
        edited_(stored_readings(run, "")),
        tokens_(stored_array(run, "base/tracked_token")),
        loss_(stored_array(run, "controls/loss")),
        correct_(stored_array(run, "controls/correct")) {
    check_same_shape(run, base_, edited_);
    const bool has_axes = loss_.axes.size() >= 4 && loss_.axes[1].name == kRandomSetAxis &&
                          loss_.axes[3].name == kMatchAxis;
    if (!has_axes) fail_damaged();
    sizes_ = {.draws = loss_.axes[1].size,
              .places = loss_.axes[2].size,
              .matches = loss_.axes[3].size,
              .targets = base_.cells};
    if (sizes_.places > 0) sizes_.operations = edited_.cells / (sizes_.places * sizes_.targets);
    const size_t all = run.templates.size() * sizes_.draws * sizes_.places * sizes_.matches *
                       sizes_.operations * sizes_.targets;
    if (loss_.values.size() != all || correct_.values.size() != all ||
        sizes_.places * sizes_.operations * sizes_.targets != edited_.cells ||
        tokens_.values.size() != base_.logit->values.size())
      fail_damaged();
  }

  [[nodiscard]] const Sizes& sizes() const { return sizes_; }
  [[nodiscard]] std::vector<Axis> axes() const {
    std::vector<Axis> axes(loss_.axes.begin() + 2, loss_.axes.end());
    if (axes.back().name == "target") axes.pop_back();
    return axes;
  }

  [[nodiscard]] bool is_usable(int64_t prompt, int64_t place, int64_t operation) const {
    bool any = false;
    for (int64_t t = 0; t < sizes_.targets; ++t) {
      if (!has_target(prompt, t)) continue;
      any = true;
      if (!std::isfinite(base_.loss->values[at_base(prompt, t)]) ||
          !std::isfinite(edited_.loss->values[at_edited(prompt, place, operation, t)]))
        return false;
    }
    return any;
  }

  /// Changes against the base run, by one target.
  [[nodiscard]] double chosen_loss(int64_t prompt, int64_t place, int64_t operation,
                                   int64_t t) const {
    return edited_.loss->values[at_edited(prompt, place, operation, t)] -
           base_.loss->values[at_base(prompt, t)];
  }
  [[nodiscard]] double chosen_correct(int64_t prompt, int64_t place, int64_t operation,
                                      int64_t t) const {
    return is_answer(edited_.top1->values[at_edited(prompt, place, operation, t)], prompt, t) -
           base_correct(prompt, t);
  }
  [[nodiscard]] double drawn_loss(int64_t prompt, int64_t cell, int64_t draw, int64_t t) const {
    const double loss = loss_.values[at_drawn(prompt, cell, draw, t)];
    return std::isfinite(loss) ? loss - base_.loss->values[at_base(prompt, t)] : kNaN;
  }
  [[nodiscard]] double drawn_correct(int64_t prompt, int64_t cell, int64_t draw, int64_t t) const {
    const double correct = correct_.values[at_drawn(prompt, cell, draw, t)];
    return correct > 1.0 ? kNaN : correct - base_correct(prompt, t);
  }

  /// Mean over a prompt's targets.
  [[nodiscard]] double over_targets(int64_t prompt,
                                    const std::function<double(int64_t)>& value) const {
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t t = 0; t < sizes_.targets; ++t) {
      if (!has_target(prompt, t)) continue;
      sum += value(t);
      ++count;
    }
    return sum / static_cast<double>(count);
  }

 private:
  [[noreturn]] void fail_damaged() const {
    fail(ErrorKind::input,
         "run '{}': the numbers of its random sets and of its chosen ones do not go together: the "
         "file is damaged",
         run_.id);
  }
  [[nodiscard]] int64_t at_base(int64_t prompt, int64_t t) const {
    return prompt * sizes_.targets + t;
  }
  [[nodiscard]] int64_t at_edited(int64_t prompt, int64_t place, int64_t operation,
                                  int64_t t) const {
    return ((prompt * sizes_.places + place) * sizes_.operations + operation) * sizes_.targets + t;
  }
  /// `cell` is [place, match, operation].
  [[nodiscard]] int64_t at_drawn(int64_t prompt, int64_t cell, int64_t draw, int64_t t) const {
    const int64_t cells = sizes_.places * sizes_.matches * sizes_.operations;
    return ((prompt * sizes_.draws + draw) * cells + cell) * sizes_.targets + t;
  }
  [[nodiscard]] double answer(int64_t prompt, int64_t t) const {
    return tokens_.values[at_base(prompt, t) * base_.tracked];
  }
  [[nodiscard]] bool has_target(int64_t prompt, int64_t t) const {
    return answer(prompt, t) >= 0.0;
  }
  [[nodiscard]] double is_answer(double top1, int64_t prompt, int64_t t) const {
    return top1 == answer(prompt, t) ? 1.0 : 0.0;
  }
  [[nodiscard]] double base_correct(int64_t prompt, int64_t t) const {
    return is_answer(base_.top1->values[at_base(prompt, t)], prompt, t);
  }

  const StoredRun& run_;
  StoredReadings base_;
  StoredReadings edited_;
  const StoredArray& tokens_;
  const StoredArray& loss_;
  const StoredArray& correct_;
  Sizes sizes_;
};

/// A number per prompt and target of the chosen and of the random sets.
struct Compared {
  double (Sets::*chosen)(int64_t, int64_t, int64_t, int64_t) const;
  double (Sets::*drawn)(int64_t, int64_t, int64_t, int64_t) const;
};

double mean_over(const std::vector<int64_t>& prompts, const std::function<double(int64_t)>& value) {
  double sum = 0.0;
  for (const int64_t prompt : prompts) sum += value(prompt);
  return prompts.empty() ? kNaN : sum / static_cast<double>(prompts.size());
}

void add_cell(const Sets& sets, const Compared& compared, std::span<const int64_t> counted,
              int64_t cell, ControlComparison& comparison) {
  const Sizes& sizes = sets.sizes();
  const int64_t operation = cell % sizes.operations;
  const int64_t place = cell / (sizes.operations * sizes.matches);
  std::vector<int64_t> usable;
  for (const int64_t prompt : counted)
    if (sets.is_usable(prompt, place, operation)) usable.push_back(prompt);
  const double observed = mean_over(usable, [&](int64_t prompt) {
    return sets.over_targets(
        prompt, [&](int64_t t) { return (sets.*compared.chosen)(prompt, place, operation, t); });
  });
  std::vector<double> draws;
  draws.reserve(sizes.draws);
  for (int64_t draw = 0; draw < sizes.draws; ++draw)
    draws.push_back(mean_over(usable, [&](int64_t prompt) {
      return sets.over_targets(
          prompt, [&](int64_t t) { return (sets.*compared.drawn)(prompt, cell, draw, t); });
    }));
  comparison.cells.push_back(compare_with_draws(observed, draws, kShares, comparison.alternative));
  comparison.prompts.push_back(static_cast<int32_t>(usable.size()));
}

Alternative opposite(Alternative alternative) {
  if (alternative == Alternative::greater) return Alternative::less;
  return alternative == Alternative::less ? Alternative::greater : alternative;
}

template <int kIndex>
double quantile(const ControlComparison& comparison, size_t cell) {
  return comparison.cells[cell].quantiles.at(kIndex);
}

}  // namespace

std::vector<ControlComparison> compare_controls(const StoredRun& run,
                                                std::span<const int64_t> counted) {
  if (run.find("controls/loss") == nullptr) return {};
  const Sets sets(run);
  const Alternative asked = alternative_of(run.attributes.value("controls_alternative", ""));
  const bool tests = run.attributes.value("controls_chosen", "") == "allowed";
  std::vector<ControlComparison> comparisons = {
      {.name = std::string(kControlPrefix) + "delta_loss",
       .long_name = "change of the loss on the answer, chosen set beside random sets",
       .units = "nats",
       .alternative = asked},
      {.name = std::string(kControlPrefix) + "delta_correct",
       .long_name = "change of the share of right answers, chosen set beside random sets",
       .units = "1",
       .alternative = opposite(asked)}};
  const Compared compared[] = {{&Sets::chosen_loss, &Sets::drawn_loss},
                               {&Sets::chosen_correct, &Sets::drawn_correct}};
  const Sizes& sizes = sets.sizes();
  for (size_t i = 0; i < comparisons.size(); ++i) {
    ControlComparison& comparison = comparisons[i];
    comparison.axes = sets.axes();
    for (int64_t cell = 0; cell < sizes.places * sizes.matches * sizes.operations; ++cell)
      add_cell(sets, compared[i], counted, cell, comparison);
    if (!tests)
      for (DrawComparison& cell : comparison.cells) cell.p_value = kNaN;
  }
  return comparisons;
}

std::span<const ControlColumn> control_columns() {
  using Of = const ControlComparison&;
  static constexpr ControlColumn kColumns[] = {
      {"observed", "mean over prompts with the chosen set", false,
       [](Of c, size_t i) { return c.cells[i].observed; }},
      {"p_value", "(1 + at_least) / (1 + draws), twice the smaller side where two-sided", false,
       [](Of c, size_t i) { return c.cells[i].p_value; }},
      {"mean", "mean of the random sets' means", false,
       [](Of c, size_t i) { return c.cells[i].mean; }},
      {"sd", "standard deviation of the random sets' means", false,
       [](Of c, size_t i) { return c.cells[i].sd; }},
      {"z", "(observed - mean) / sd, as description only", false,
       [](Of c, size_t i) { return c.cells[i].z; }},
      {"quantile_025", "quantile 0.025 of the random sets' means", false, quantile<0>},
      {"quantile_050", "quantile 0.05 of the random sets' means", false, quantile<1>},
      {"median", "median of the random sets' means", false, quantile<2>},
      {"quantile_950", "quantile 0.95 of the random sets' means", false, quantile<3>},
      {"quantile_975", "quantile 0.975 of the random sets' means", false, quantile<4>},
      {"draws", "random sets with numbers", true,
       [](Of c, size_t i) { return static_cast<double>(c.cells[i].draws); }},
      {"at_least", "random sets that are as extreme as the chosen one, or more", true,
       [](Of c, size_t i) { return static_cast<double>(c.cells[i].at_least); }},
      {"prompts", "prompts that the means are over", true,
       [](Of c, size_t i) { return static_cast<double>(c.prompts[i]); }},
  };
  return kColumns;
}

}  // namespace mechsweep
