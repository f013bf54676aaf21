#include "experiments/effect_metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "experiments/stored_readings.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
/// Below this difference between donor and base a prompt's own recovery is noise over noise.
constexpr double kSmallestDenominator = 0.1;

bool never(int64_t /*prompt*/, int64_t /*cell*/) {
  return false;
}

/// Builds the metrics of one group of readings.
class MetricMaker {
 public:
  MetricMaker(const StoredRun& run, const Applicability& applicability,
              std::vector<Metric>& metrics)
      : prompts_(static_cast<int64_t>(run.templates.size())),
        applicability_(applicability),
        metrics_(metrics) {}

  /// `value(prompt, cell)`, `broken(prompt, cell)`.
  template <typename Value, typename Broken>
  Metric& add(const std::string& name, const std::string& long_name, const std::string& units,
              const StoredReadings& readings, Value value, Broken broken) {
    Metric metric{.name = name, .long_name = long_name, .units = units, .axes = readings.axes};
    metric.values.reserve(prompts_ * readings.cells);
    metric.broken.reserve(prompts_ * readings.cells);
    for (int64_t p = 0; p < prompts_; ++p)
      for (int64_t c = 0; c < readings.cells; ++c) {
        metric.values.push_back(value(p, c));
        metric.broken.push_back(broken(p, c) ? 1 : 0);
      }
    metrics_.push_back(std::move(metric));
    return metrics_.back();
  }

  /// The readings themselves; `summarised` ones get means, all are exported.
  void add_group(const std::string& prefix, const std::string& of, const StoredReadings& r,
                 bool has_margin, bool summarised) {
    const auto flat = [&r](int64_t p, int64_t c) { return p * r.cells + c; };
    const auto plain = [&](Metric& metric, bool with_mean) {
      metric.headline = false;
      metric.summarised = with_mean;
    };
    const auto bad_loss = [&](int64_t p, int64_t c) { return applicability_.broken_loss(r, p, c); };
    const auto token_or_nan = [&](const StoredArray* array) {
      return [&, array](int64_t p, int64_t c) {
        const int64_t i = flat(p, c);
        return std::isnan(r.loss->values[i]) ? kNaN : array->values[i];
      };
    };
    plain(add(
              prefix + "loss", "loss on the answer" + of, "nats", r,
              [&](int64_t p, int64_t c) { return r.loss->values[flat(p, c)]; }, bad_loss),
          true);
    if (has_margin)
      plain(add(
                prefix + "margin", "answer logit minus largest wrong logit" + of, "logits", r,
                [&](int64_t p, int64_t c) { return r.margin(flat(p, c)); },
                [&](int64_t p, int64_t c) { return applicability_.broken_margin(r, p, c); }),
            true);
    plain(add(prefix + "top1", "token with the largest logit" + of, "token id", r,
              token_or_nan(r.top1), never),
          false);
    if (applicability_.has_answers())
      plain(add(
                prefix + "correct", "share of answers with the largest logit" + of, "1", r,
                [&](int64_t p, int64_t c) {
                  const int64_t i = flat(p, c);
                  if (std::isnan(r.loss->values[i])) return kNaN;
                  return r.top1->values[i] == applicability_.answer(p, c) ? 1.0 : 0.0;
                },
                bad_loss),
            true);
    if (r.answer_rank != nullptr)
      plain(add(prefix + "answer_rank", "tokens with a larger logit than the answer" + of, "1", r,
                token_or_nan(r.answer_rank), never),
            true);
    if (r.kl_base != nullptr) plain(add_kl(prefix + "kl_base", "base", r, *r.kl_base), true);
    if (r.kl_donor != nullptr) plain(add_kl(prefix + "kl_donor", "donor", r, *r.kl_donor), true);
    for (int64_t t = 0; t < r.tracked; ++t)
      plain(
          add(
              fmt::format("{}logit_{}", prefix, t),
              (t == 0 ? std::string("logit of the answer")
                      : fmt::format("logit of wrong token {}", t)) +
                  of,
              "logits", r,
              [&, t](int64_t p, int64_t c) { return r.logit->values[flat(p, c) * r.tracked + t]; },
              [&, t](int64_t p, int64_t c) { return applicability_.broken_logit(r, p, c, t); }),
          summarised && t == 0);
  }

 private:
  Metric& add_kl(const std::string& name, const std::string& from, const StoredReadings& r,
                 const StoredArray& kl) {
    const auto value = [&](int64_t p, int64_t c) { return kl.values[p * r.cells + c]; };
    return add(name, fmt::format("KL({} || edited)", from), "nats", r, value,
               [&](int64_t p, int64_t c) {
                 return !std::isfinite(value(p, c)) && applicability_.applies(r, p, c);
               });
  }

  int64_t prompts_;
  const Applicability& applicability_;
  std::vector<Metric>& metrics_;
};

/// The index into the base readings [prompt, target] of a cell of the edited ones.
struct BaseIndex {
  int64_t targets;
  [[nodiscard]] int64_t operator()(int64_t prompt, int64_t cell) const {
    return prompt * targets + cell % targets;
  }
};

using OfCell = std::function<double(int64_t, int64_t)>;
using IsBroken = std::function<bool(int64_t, int64_t)>;

void add_recovery(const std::string& name, const std::string& of, const StoredReadings& edited,
                  MetricMaker& maker, const OfCell& gained, const OfCell& possible,
                  const IsBroken& broken) {
  Metric& metric = maker.add(
      "recovery_" + name, "share of the donor's " + of + " recovered", "1", edited,
      [&](int64_t p, int64_t c) {
        const double denominator = possible(p, c);
        return std::abs(denominator) < kSmallestDenominator ? kNaN : gained(p, c) / denominator;
      },
      broken);
  metric.null_is_zero = true;
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
  const StoredReadings base = stored_readings(run, "base/");
  const StoredReadings edited = stored_readings(run, "");
  check_same_shape(run, base, edited);
  const Applicability tells(run, base);
  MetricMaker maker(run, tells, metrics);
  const bool has_margin = base.tracked > 1;
  const BaseIndex at_base{base.cells};
  const auto at = [&](int64_t p, int64_t c) { return p * edited.cells + c; };
  const auto delta_loss = [&](int64_t p, int64_t c) {
    return edited.loss->values[at(p, c)] - base.loss->values[at_base(p, c)];
  };
  const auto delta_margin = [&](int64_t p, int64_t c) {
    return edited.margin(at(p, c)) - base.margin(at_base(p, c));
  };
  const IsBroken bad_loss = [&](int64_t p, int64_t c) {
    return tells.broken_loss(edited, p, c) || tells.broken_loss(base, p, c % base.cells);
  };
  const IsBroken bad_margin = [&](int64_t p, int64_t c) {
    return tells.broken_margin(edited, p, c) || tells.broken_margin(base, p, c % base.cells);
  };
  maker.add("delta_loss", "change of the loss on the answer", "nats", edited, delta_loss, bad_loss)
      .null_is_zero = true;
  if (has_margin)
    maker
        .add("delta_margin", "change of the margin of the answer", "logits", edited, delta_margin,
             bad_margin)
        .null_is_zero = true;
  if (run.find("donor/loss") != nullptr) {
    const StoredReadings donor = stored_readings(run, "donor/");
    check_same_shape(run, donor, base);
    add_recovery(
        "loss", "loss", edited, maker, delta_loss,
        [&](int64_t p, int64_t c) {
          return donor.loss->values[at_base(p, c)] - base.loss->values[at_base(p, c)];
        },
        [&](int64_t p, int64_t c) {
          return bad_loss(p, c) || tells.broken_loss(donor, p, c % base.cells);
        });
    if (has_margin)
      add_recovery(
          "margin", "margin", edited, maker, delta_margin,
          [&](int64_t p, int64_t c) {
            return donor.margin(at_base(p, c)) - base.margin(at_base(p, c));
          },
          [&](int64_t p, int64_t c) {
            return bad_margin(p, c) || tells.broken_margin(donor, p, c % base.cells);
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
  const StoredReadings clean = stored_readings(run, clean_is_donor ? "donor/" : "base/");
  const StoredArray& tokens = stored_array(run, "base/tracked_token");
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
      if (!std::isfinite(clean.loss->values[i])) continue;  // no target, or counted as broken
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
