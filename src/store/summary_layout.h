#pragma once

#include <string>
#include <vector>

#include "experiments/summary.h"
#include "store/file_layout.h"

namespace mechsweep {

/// One unit of `reduce`: a metric of a run.
struct SummaryUnit {
  int run = 0;
  int metric = 0;
};

/// The summary file of a results file, and its units in order.
struct SummaryPlan {
  FileLayout layout;
  std::vector<SummaryUnit> units;
};

/// `source` is the layout of the results file, `runs` its runs in order, `source_state` a hash that
/// changes when the results do.
SummaryPlan plan_summary(const FileLayout& source, const std::string& source_name,
                         const std::vector<RunSummary>& runs, const std::string& source_state);

/// The blocks of a metric's datasets, in the layout's order. `metric.non_finite` has all cells.
UnitResult summary_blocks(const SummaryMetric& metric, const MetricSummary& summary);

/// Datasets of a metric, in order: floats, counts, values that are no numbers though they should
/// be, rank where there is one, then SummaryMetric::further (float64).
inline constexpr const char* kSummaryFloats[] = {
    "mean", "standard_error", "percentile_low", "percentile_high", "bca_low", "bca_high"};
inline constexpr const char* kSummaryCounts[] = {"prompts", "clusters"};
inline constexpr const char* kSummaryNonFinite = "non_finite";
inline constexpr const char* kSummaryRank = "rank";

}  // namespace mechsweep
