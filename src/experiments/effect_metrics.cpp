#include "experiments/effect_metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "experiments/effect_run.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
/// Below this difference between donor and base a prompt's own recovery is noise over noise.
constexpr double kSmallestDenominator = 0.1;

/// Readings of one group of arrays, targets as the last axis.
struct Readings {
  std::vector<Axis> axes;  ///< after the prompt, the target axis (if any) included
  int64_t cells = 0;       ///< values per prompt
  int64_t tracked = 0;
  const StoredArray* loss = nullptr;
  const StoredArray* logit = nullptr;
  const StoredArray* top1 = nullptr;

  [[nodiscard]] double margin(int64_t i) const {
    const double* logits = logit->values.data() + i * tracked;
    double best_wrong = kNaN;
    for (int64_t t = 1; t < tracked; ++t)
      if (std::isnan(best_wrong) || logits[t] > best_wrong) best_wrong = logits[t];
    return logits[0] - best_wrong;
  }
  /// -log softmax of the answer, over the tracked tokens only.
  [[nodiscard]] double loss_among_tracked(int64_t i) const {
    const double* logits = logit->values.data() + i * tracked;
    double sum = 0.0;
    for (int64_t t = 0; t < tracked; ++t)
      if (!std::isnan(logits[t])) sum += std::exp(logits[t] - logits[0]);
    return std::log(sum);
  }
};

const StoredArray& require(const StoredRun& run, const std::string& name) {
  const StoredArray* array = run.find(name);
  if (array == nullptr)
    fail(ErrorKind::input, "run '{}' has no dataset '{}': the file is damaged", run.id, name);
  return *array;
}

Readings readings_of(const StoredRun& run, const std::string& prefix) {
  Readings readings;
  readings.loss = &require(run, prefix + "loss");
  readings.logit = &require(run, prefix + "logit");
  readings.top1 = &require(run, prefix + "top1");
  if (readings.loss->axes.empty() || readings.logit->axes.empty())
    fail(ErrorKind::input, "run '{}': a dataset has no axes: the file is damaged", run.id);
  readings.axes.assign(readings.loss->axes.begin() + 1, readings.loss->axes.end());
  readings.tracked = readings.logit->axes.back().size;
  readings.cells = 1;
  for (const Axis& axis : readings.axes) readings.cells *= axis.size;
  const size_t places = run.templates.size() * readings.cells;
  if (readings.loss->values.size() != places || readings.top1->values.size() != places ||
      readings.logit->values.size() != places * readings.tracked)
    fail(ErrorKind::input,
         "run '{}': the sizes of its '{}' datasets do not go together: the file is "
         "damaged",
         run.id, prefix + "loss");
  return readings;
}

/// The base readings of [prompt, target] that go with others of the same run.
void check_same_targets(const StoredRun& run, const Readings& base, const Readings& other) {
  if (base.cells == 0 || other.cells % base.cells != 0)
    fail(ErrorKind::input,
         "run '{}': base run and other runs have different targets: the file is "
         "damaged",
         run.id);
}

/// Builds the metrics of one group of readings.
class MetricMaker {
 public:
  MetricMaker(const StoredRun& run, std::vector<Metric>& metrics)
      : prompts_(static_cast<int64_t>(run.templates.size())), metrics_(metrics) {}

  /// `value(prompt, cell)`.
  template <typename Value>
  Metric& add(const std::string& name, const std::string& long_name, const std::string& units,
              const Readings& readings, Value value) {
    Metric metric{.name = name, .long_name = long_name, .units = units, .axes = readings.axes};
    metric.values.reserve(prompts_ * readings.cells);
    for (int64_t p = 0; p < prompts_; ++p)
      for (int64_t c = 0; c < readings.cells; ++c) metric.values.push_back(value(p, c));
    metrics_.push_back(std::move(metric));
    return metrics_.back();
  }

  /// The readings themselves; `summarised` ones get means, all are exported.
  void add_group(const std::string& prefix, const std::string& of, const Readings& r,
                 bool has_margin, bool summarised) {
    const auto flat = [&r](int64_t p, int64_t c) { return p * r.cells + c; };
    const auto plain = [&](Metric& metric, bool with_mean) {
      metric.headline = false;
      metric.summarised = with_mean;
    };
    plain(add(prefix + "loss", "loss on the answer" + of, "nats", r,
              [&](int64_t p, int64_t c) { return r.loss->values[flat(p, c)]; }),
          true);
    if (has_margin)
      plain(add(prefix + "margin", "answer logit minus largest wrong logit" + of, "logits", r,
                [&](int64_t p, int64_t c) { return r.margin(flat(p, c)); }),
            true);
    plain(add(prefix + "top1", "token with the largest logit" + of, "token id", r,
              [&](int64_t p, int64_t c) {
                const int64_t i = flat(p, c);
                return std::isnan(r.loss->values[i]) ? kNaN : r.top1->values[i];
              }),
          false);
    for (int64_t t = 0; t < r.tracked; ++t)
      plain(
          add(fmt::format("{}logit_{}", prefix, t),
              (t == 0 ? std::string("logit of the answer")
                      : fmt::format("logit of wrong token {}", t)) +
                  of,
              "logits", r,
              [&, t](int64_t p, int64_t c) { return r.logit->values[flat(p, c) * r.tracked + t]; }),
          summarised && t == 0);
  }

 private:
  int64_t prompts_;
  std::vector<Metric>& metrics_;
};

/// The index into the base readings [prompt, target] of a cell of the edited ones.
struct BaseIndex {
  int64_t targets;
  [[nodiscard]] int64_t operator()(int64_t prompt, int64_t cell) const {
    return prompt * targets + cell % targets;
  }
};

void add_recovery(const std::string& name, const std::string& of, const Readings& edited,
                  MetricMaker& maker, const std::function<double(int64_t, int64_t)>& gained,
                  const std::function<double(int64_t, int64_t)>& possible) {
  Metric& metric = maker.add(
      "recovery_" + name, "share of the donor's " + of + " recovered", "1", edited,
      [&](int64_t p, int64_t c) {
        const double denominator = possible(p, c);
        return std::abs(denominator) < kSmallestDenominator ? kNaN : gained(p, c) / denominator;
      });
  const auto prompts = static_cast<int64_t>(metric.values.size()) / edited.cells;
  for (int64_t p = 0; p < prompts; ++p)
    for (int64_t c = 0; c < edited.cells; ++c) {
      metric.numerator.push_back(gained(p, c));
      metric.denominator.push_back(possible(p, c));
    }
}

/// Mean over targets within a prompt, then over prompts.
class PromptMeans {
 public:
  void add(double value) {
    sum_ += value;
    ++targets_;
  }
  void end_prompt() {
    if (targets_ > 0) {
      total_ += sum_ / targets_;
      ++prompts_;
    }
    sum_ = 0.0;
    targets_ = 0;
  }
  [[nodiscard]] double mean() const { return prompts_ > 0 ? total_ / prompts_ : kNaN; }

 private:
  double sum_ = 0.0, total_ = 0.0;
  int targets_ = 0, prompts_ = 0;
};

}  // namespace

std::vector<Metric> derive_effects(const StoredRun& run) {
  std::vector<Metric> metrics;
  MetricMaker maker(run, metrics);
  const Readings base = readings_of(run, "base/");
  const Readings edited = readings_of(run, "");
  check_same_targets(run, base, edited);
  const bool has_margin = base.tracked > 1;
  const BaseIndex at_base{base.cells};
  const auto at = [&](int64_t p, int64_t c) { return p * edited.cells + c; };
  const auto delta_loss = [&](int64_t p, int64_t c) {
    return edited.loss->values[at(p, c)] - base.loss->values[at_base(p, c)];
  };
  const auto delta_margin = [&](int64_t p, int64_t c) {
    return edited.margin(at(p, c)) - base.margin(at_base(p, c));
  };
  maker.add("delta_loss", "change of the loss on the answer", "nats", edited, delta_loss);
  if (has_margin)
    maker.add("delta_margin", "change of the margin of the answer", "logits", edited, delta_margin);
  if (run.find("donor/loss") != nullptr) {
    const Readings donor = readings_of(run, "donor/");
    check_same_targets(run, donor, base);
    add_recovery("loss", "loss", edited, maker, delta_loss, [&](int64_t p, int64_t c) {
      return donor.loss->values[at_base(p, c)] - base.loss->values[at_base(p, c)];
    });
    if (has_margin)
      add_recovery("margin", "margin", edited, maker, delta_margin, [&](int64_t p, int64_t c) {
        return donor.margin(at_base(p, c)) - base.margin(at_base(p, c));
      });
    maker.add_group("donor_", ", donor run", donor, has_margin, true);
  }
  maker.add_group("", " under the edit", edited, has_margin, false);
  maker.add_group("base_", ", base run", base, has_margin, true);
  return metrics;
}

TaskPerformance task_performance(const StoredRun& run) {
  // The clean run does the task; where it is the donor, the base is the corrupt run.
  const bool clean_is_donor = run.attributes.value("base", "clean") == "corrupt";
  const Readings clean = readings_of(run, clean_is_donor ? "donor/" : "base/");
  const StoredArray& tokens = require(run, "base/tracked_token");
  bool has_candidates = true;
  if (tokens.values.size() != clean.logit->values.size())
    fail(ErrorKind::input,
         "run '{}': tracked tokens and logits differ in number: the file is "
         "damaged",
         run.id);
  PromptMeans loss, correct, candidate_loss, beats_wrong, candidates;
  for (size_t p = 0; p < run.templates.size(); ++p) {
    if (p < run.complete.size() && run.complete[p] == 0) continue;
    for (int64_t t = 0; t < clean.cells; ++t) {
      const int64_t i = static_cast<int64_t>(p) * clean.cells + t;
      if (std::isnan(clean.loss->values[i])) continue;
      loss.add(clean.loss->values[i]);
      correct.add(clean.top1->values[i] == tokens.values[i * clean.tracked] ? 1.0 : 0.0);
      if (std::isnan(clean.margin(i))) {
        has_candidates = false;
        continue;
      }
      beats_wrong.add(clean.margin(i) > 0.0 ? 1.0 : 0.0);
      candidate_loss.add(clean.loss_among_tracked(i));
      const auto row = tokens.values.begin() + i * clean.tracked;
      candidates.add(static_cast<double>(
          std::count_if(row, row + clean.tracked, [](double token) { return token >= 0.0; })));
    }
    for (PromptMeans* means : {&loss, &correct, &candidate_loss, &beats_wrong, &candidates})
      means->end_prompt();
  }
  TaskPerformance performance;
  performance.has_candidates = has_candidates;
  performance.base_loss = loss.mean();
  performance.base_accuracy = correct.mean();
  performance.candidate_loss = candidate_loss.mean();
  performance.candidate_accuracy = beats_wrong.mean();
  const double choices = has_candidates ? candidates.mean() : static_cast<double>(run.vocab_size);
  performance.chance_loss = std::log(choices);
  performance.chance_accuracy = 1.0 / choices;
  return performance;
}

}  // namespace mechsweep
