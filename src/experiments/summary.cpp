#include "experiments/summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include <fmt/ranges.h>

#include "core/error.h"
#include "experiments/profile_null.h"
#include "experiments/readouts.h"
#include "experiments/top_heads.h"
#include "stats/max_statistic.h"
#include "stats/multiple_comparisons.h"
#include "stats/profile.h"
#include "stats/ranking.h"
#include "stats/split.h"

namespace mechsweep {

namespace {

/// With fewer prompts than this a filter's outcome says little.
constexpr int64_t kFewPrompts = 10;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Keeps the counted prompts and averages over the target axis, which is the last one if there. A
/// prompt with a broken value in a cell has none there at all: a mean over the targets that
/// happened to come out would be another quantity.
std::vector<double> reduce_prompts(const std::vector<double>& values,
                                   const std::vector<uint8_t>& broken, int64_t row, int64_t targets,
                                   const std::vector<int64_t>& counted) {
  std::vector<double> out;
  out.reserve(counted.size() * (row / targets));
  for (const int64_t p : counted)
    for (int64_t cell = 0; cell < row / targets; ++cell) {
      double sum = 0.0;
      int64_t n = 0;
      bool usable = true;
      for (int64_t t = 0; t < targets; ++t) {
        const int64_t i = p * row + cell * targets + t;
        usable = usable && (broken.empty() || broken[i] == 0);
        if (std::isnan(values[i])) continue;
        sum += values[i];
        ++n;
      }
      out.push_back(usable && n > 0 ? sum / static_cast<double>(n) : kNaN);
    }
  return out;
}

/// Broken values of the counted prompts, by cell, over targets.
std::vector<int32_t> count_broken(const Metric& metric, int64_t row, int64_t targets,
                                  const std::vector<int64_t>& counted) {
  std::vector<int32_t> counts(row / targets, 0);
  if (metric.broken.empty()) return counts;
  for (const int64_t p : counted)
    for (int64_t i = 0; i < row; ++i) counts[i / targets] += metric.broken[p * row + i];
  return counts;
}

SummaryMetric reduce_metric(const Metric& metric, const std::vector<int64_t>& counted) {
  SummaryMetric summary{.name = metric.name,
                        .long_name = metric.long_name,
                        .units = metric.units,
                        .axes = metric.axes};
  int64_t targets = 1;
  if (!summary.axes.empty() && summary.axes.back().name == kTargetAxis) {
    targets = summary.axes.back().size;
    summary.axes.pop_back();
  }
  const int64_t row = metric.cells();
  summary.cells = row / targets;
  const auto reduced = [&](const std::vector<double>& values) {
    return reduce_prompts(values, metric.broken, row, targets, counted);
  };
  summary.values = reduced(metric.values);
  if (!metric.numerator.empty()) {
    summary.numerator = reduced(metric.numerator);
    summary.denominator = reduced(metric.denominator);
  }
  summary.non_finite = count_broken(metric, row, targets, counted);
  if (summary.axes.empty()) summary.axes.push_back({.name = "all", .size = 1});
  const auto& axes = summary.axes;
  const bool heads = axes.size() == 2 && axes[0].name == "layer" && axes[1].name == "head";
  summary.ranked = metric.headline && (heads || (axes.size() == 1 && axes[0].name == "named_head"));
  summary.tested = summary.ranked && metric.null_is_zero;
  if (summary.tested) summary.further.assign(std::begin(kTestColumns), std::end(kTestColumns));
  return summary;
}

/// [rows, heads, inner] as [rows, inner, heads].
std::vector<double> heads_last(const std::vector<double>& values, int64_t heads, int64_t inner) {
  std::vector<double> moved;
  moved.reserve(values.size());
  for (auto row = values.begin(); row != values.end(); row += heads * inner)
    for (int64_t i = 0; i < inner; ++i)
      for (int64_t head = 0; head < heads; ++head) moved.push_back(row[head * inner + i]);
  return moved;
}

/// The mean over heads of a metric by layer, head and, where `keeps_axes`, whatever comes after.
std::optional<SummaryMetric> profile_of(const SummaryMetric& metric, bool keeps_axes,
                                        int64_t prompts) {
  const bool plain = metric.ranked && metric.axes.size() == 2;
  if (!metric.numerator.empty() || !(plain || keeps_axes)) return std::nullopt;
  const int64_t layers = metric.axes[0].size, heads = metric.axes[1].size;
  const int64_t inner = metric.cells / (layers * heads);
  SummaryMetric profile{.name = metric.name + kProfileSuffix,
                        .long_name = metric.long_name + ", mean over heads",
                        .units = metric.units,
                        .axes = metric.axes,
                        .cells = layers * inner};
  profile.axes.erase(profile.axes.begin() + 1);
  profile.values =
      layer_profiles(heads_last(metric.values, heads, inner), prompts, layers * inner, heads);
  profile.non_finite.assign(profile.cells, 0);
  for (int64_t cell = 0; cell < metric.cells; ++cell)
    profile.non_finite[cell / (heads * inner) * inner + cell % inner] += metric.non_finite[cell];
  return profile;
}

/// Says which metrics have numbers that are none, and how many.
void warn_of_broken(RunSummary& summary) {
  std::string text;
  for (const SummaryMetric& metric : summary.metrics) {
    const int64_t broken =
        std::accumulate(metric.non_finite.begin(), metric.non_finite.end(), int64_t{0});
    if (broken == 0 || metric.name.ends_with(kProfileSuffix)) continue;
    text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", broken, metric.name);
  }
  if (!text.empty())
    summary.warnings.push_back(fmt::format(
        "numbers that came out as NaN or infinite are left out, with their prompts: {}", text));
}

/// Names the places of the first intervention axis that a decision left out.
void warn_of_left_out(const StoredRun& run, RunSummary& summary) {
  const StoredArray* loss = run.find("loss");
  if (run.left_out.empty() || loss == nullptr || loss->axes.size() < 2) return;
  const Axis& axis = loss->axes[1];
  std::set<int64_t> places;
  for (const LeftOutUnit& unit : run.left_out)
    for (int64_t i = unit.first.begin; i < std::min(unit.first.end, axis.size); ++i)
      places.insert(axis.coordinates.empty() ? i : axis.coordinates[i]);
  summary.warnings.push_back(fmt::format("{} {}: left out, since too few heads reach {}", axis.name,
                                         fmt::join(places, ", "),
                                         run.attributes.value("selected_at_least", kNaN)));
}

/// What `correct_in` leaves.
void warn_of_filter(RunSummary& summary) {
  if (!summary.filter) return;
  const PromptFilter& filter = *summary.filter;
  if (filter.kept < kFewPrompts)
    summary.warnings.push_back(
        fmt::format("correct_in ({}) leaves {} of {} prompts: too few to say much", filter.rule,
                    filter.kept, filter.prompts));
  for (size_t m = 0; m < filter.models.size(); ++m)
    if (filter.not_computed[m] > 0)
      summary.warnings.push_back(
          fmt::format("correct_in: what model {} answers is not computed yet for {} prompts, which "
                      "are left out",
                      filter.models[m], filter.not_computed[m]));
}

void add_warnings(const StoredRun& run, RunSummary& summary) {
  warn_of_filter(summary);
  warn_of_broken(summary);
  warn_of_left_out(run, summary);
  if (!run.attributes.value("held_out", true))
    summary.warnings.emplace_back(
        "the heads were chosen on prompts that they are tried on, which makes their effect look "
        "larger than it is");
  if (summary.prompts_left_out > 0)
    summary.warnings.push_back(fmt::format("{} of {} prompts are not computed in full and left out",
                                           summary.prompts_left_out,
                                           summary.prompts + summary.prompts_left_out));
  if (summary.cluster_count < 10)
    summary.warnings.push_back(fmt::format(
        "only {} independent prompts or templates: intervals are rough", summary.cluster_count));
  if (!summary.performance || !summary.performance->fails()) return;
  const TaskPerformance& task = *summary.performance;
  summary.warnings.push_back(fmt::format(
      "the model fails this task: {} {:.2f} nats is no better than chance ({:.2f}), so effects on "
      "it say little",
      task.has_candidates ? "its loss among the tracked tokens" : "base loss",
      task.has_candidates ? task.candidate_loss : task.base_loss, task.chance_loss));
}

void check_prompts(const StoredRun& run) {
  if (run.complete.size() != run.templates.size())
    fail(ErrorKind::input, "run '{}' is about {} prompts, but {} are stored: the file is damaged",
         run.id, run.complete.size(), run.templates.size());
}

}  // namespace

StatisticsConfig statistics_of(const StoredRun& run) {
  try {
    return StatisticsConfig::from_json(
        Json::parse(run.attributes.at("statistics").get<std::string>()));
  } catch (const Json::exception&) {
    fail(ErrorKind::input,
         "run '{}': its attribute 'statistics' cannot be read: the file is damaged", run.id);
  }
}

RunSummary summarise_run(const StoredRun& run, std::optional<PromptFilter> filter) {
  RunSummary summary{.id = run.id, .filter = std::move(filter)};
  summary.statistics = statistics_of(run);
  check_prompts(run);
  std::vector<int64_t> counted;
  std::vector<std::string> templates;
  const std::vector<uint8_t> evaluated = stored_evaluated(run);
  for (size_t p = 0; p < run.complete.size(); ++p) {
    if (evaluated[p] == 0) continue;
    if (run.complete[p] == 0) {
      ++summary.prompts_left_out;
      continue;
    }
    if (summary.filter && summary.filter->keep.at(p) == 0) continue;
    counted.push_back(static_cast<int64_t>(p));
    const bool alone = !summary.statistics.cluster_by_template;
    templates.push_back(alone ? std::string() : run.templates[p]);
  }
  summary.prompts = static_cast<int64_t>(counted.size());
  summary.clusters = clusters_of(templates);
  for (const int cluster : summary.clusters)
    summary.cluster_count = std::max<int64_t>(summary.cluster_count, cluster + 1);
  if (counted.empty()) {
    warn_of_left_out(run, summary);
    warn_of_filter(summary);
    if (summary.filter && summary.filter->prompts > 0) {
      if (run.find("base/loss") != nullptr) summary.performance = task_performance(run);
      return summary;
    }
    summary.warnings.emplace_back(run.left_out.empty() ? "no prompt is computed in full yet"
                                                       : "no prompt has numbers in full");
    return summary;
  }
  for (const Metric& metric : experiment_kind(run.kind).derive(run)) {
    if (!metric.summarised || !metric.per_prompt) continue;
    summary.metrics.push_back(reduce_metric(metric, counted));
    if (metric.profile_null) {
      add_null_profiles(metric, run, counted, summary);
    } else if (auto profile =
                   profile_of(summary.metrics.back(), metric.profiled, summary.prompts)) {
      summary.metrics.push_back(std::move(*profile));
    }
  }
  summary.controls = compare_controls(run, counted);
  if (run.find("base/loss") != nullptr) summary.performance = task_performance(run);
  add_warnings(run, summary);
  return summary;
}

/// kTestColumns of all cells.
static std::vector<std::vector<double>> test_cells(const RunSummary& run,
                                                   const SummaryMetric& metric, uint64_t seed) {
  std::vector<double> values = metric.numerator.empty() ? metric.values : metric.numerator;
  // Of a ratio the same prompts count as in the ratio.
  for (size_t i = 0; i < metric.denominator.size(); ++i)
    if (std::isnan(metric.denominator[i])) values[i] = kNaN;
  const auto flips = draw_sign_flips(
      run.cluster_count,
      {.flips = run.statistics.flips, .seed = seed, .purpose = "sign_flips/" + run.id});
  const auto tests = sign_flip_tests({values, run.prompts, metric.cells}, run.clusters, flips, {});
  std::vector<std::vector<double>> columns(2);
  for (const CellTest& test : tests) {
    columns[0].push_back(test.p_value);
    columns[1].push_back(test.adjusted_p_value);
  }
  columns.push_back(benjamini_hochberg(columns[0]));
  return columns;
}

MetricSummary summarise_metric(const RunSummary& run, const SummaryMetric& metric, uint64_t seed) {
  const BootstrapOptions options{.resamples = run.statistics.resamples,
                                 .level = run.statistics.level,
                                 .seed = seed,
                                 .purpose = "bootstrap/" + run.id};
  if (metric.null_profile) return summarise_null_profile(run, metric, seed);
  const auto cells_of = [&](const std::vector<double>& values) {
    return PromptCells{values, run.prompts, metric.cells};
  };
  MetricSummary summary;
  summary.cells = metric.numerator.empty()
                      ? bootstrap_means(cells_of(metric.values), run.clusters, options)
                      : bootstrap_ratios(cells_of(metric.numerator), cells_of(metric.denominator),
                                         run.clusters, options);
  if (metric.tested) summary.further = test_cells(run, metric, seed);
  if (!metric.top_heads.empty()) summary.further.push_back(metric.top_heads);
  if (!metric.ranked) return summary;
  std::vector<double> estimates;
  for (const CellEstimate& cell : summary.cells) estimates.push_back(cell.estimate);
  summary.ranks.assign(estimates.size(), 0);
  int32_t rank = 0;
  for (const int64_t cell : order_descending(estimates))
    if (!std::isnan(estimates[cell])) summary.ranks[cell] = ++rank;
  return summary;
}

}  // namespace mechsweep
