#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/control_summary.h"
#include "experiments/effect_metrics.h"
#include "experiments/experiment.h"
#include "experiments/statistics_config.h"
#include "stats/bootstrap.h"

namespace mechsweep {

/// Ends the name of a metric that is another one's mean over heads, by layer.
inline constexpr const char* kProfileSuffix = "_layer_profile";

/// Further datasets of a metric whose cells are tested against 0 (SummaryMetric::tested).
inline constexpr const char* kTestColumns[] = {"p_value", "p_adjusted", "q_value"};

struct NullProfile;

/// A metric as `reduce` summarises it: one number per prompt and cell, targets averaged, and only
/// prompts that were computed in full.
struct SummaryMetric {
  std::string name;
  std::string long_name;
  std::string units;
  std::vector<Axis> axes;  ///< at least one; scalars have the axis "all" of size 1
  int64_t cells = 0;
  std::vector<double> values;     ///< [P, cells]
  std::vector<double> numerator;  ///< [P, cells] where the headline is a ratio of means, else empty
  std::vector<double> denominator;  ///< likewise
  bool ranked = false;              ///< cells are heads: they get a rank, 1 the largest
  bool tested = false;              ///< ranked, and 0 is no effect: they get kTestColumns
  /// [cells]: values of counted prompts that apply and are NaN or infinite all the same. Prompts
  /// with such a value are left out of the cell.
  std::vector<int32_t> non_finite;
  std::vector<std::string> further;  ///< names of what MetricSummary::further holds
  /// Of a layer profile with a null, and of its shape, what both are made from; else null.
  std::shared_ptr<const NullProfile> null_profile;
  std::vector<double> top_heads;  ///< [cells] of a score whose top heads are chosen, else empty
  bool is_shape = false;          ///< cells are quantities, such as the peak's depth, not means
};

/// Everything that reduce needs of a run.
struct RunSummary {
  std::string id;
  StatisticsConfig statistics;
  int64_t prompts = 0;           ///< counted ones
  int64_t prompts_left_out = 0;  ///< not computed in full
  std::vector<int> clusters;     ///< per counted prompt
  int64_t cluster_count = 0;
  std::vector<SummaryMetric> metrics;
  std::optional<TaskPerformance> performance;  ///< of effect runs, over all prompts
  std::optional<PromptFilter> filter;          ///< of `correct_in`
  std::vector<ControlComparison> controls;     ///< chosen sets beside random ones
  std::vector<std::string> warnings;
};

/// How `reduce` treats a run, from its attributes. Throws Error{input} when they are damaged.
StatisticsConfig statistics_of(const StoredRun& run);

/// A run without a prompt that was computed in full has no metrics, only a warning. A filter (of
/// `correct_in`) leaves prompts out. Throws Error{input} when the run's arrays or attributes are
/// not what its kind says.
RunSummary summarise_run(const StoredRun& run, std::optional<PromptFilter> filter = {});

/// Numbers of one metric, by cell.
struct MetricSummary {
  std::vector<CellEstimate> cells;  ///< of a shape, `estimate` is the quantity
  std::vector<int32_t> ranks;       ///< empty unless ranked; 0 where a cell has no value
  /// More numbers by cell, as many columns as SummaryMetric::further has names.
  std::vector<std::vector<double>> further;
};

/// Means (or ratios of means) over prompts with bootstrap intervals. The resamples are the same for
/// all metrics of a run. Where cells are tested: whether their mean over prompts (of a ratio its
/// numerator's) is 0, by turning the signs of whole clusters, alone (p_value), among all cells of
/// the metric (p_adjusted) and as a q-value.
MetricSummary summarise_metric(const RunSummary& run, const SummaryMetric& metric, uint64_t seed);

}  // namespace mechsweep
