#include "store/summary_layout.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"
#include "experiments/head_controls.h"
#include "experiments/profile_null.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

std::array<uint8_t, 32> unit_id(const std::string& run, const std::string& metric) {
  Sha256 hash;
  hash.update(Json{{"run", run}, {"metric", metric}}.dump());
  return hash.digest();
}

/// What p_value, p_adjusted and q_value are.
void describe_tests(const RunSummary& run, Json& attributes) {
  attributes["flips"] = run.statistics.flips;
  attributes["definition_p_value"] =
      "two-sided sign-flip test that the mean over prompts is 0: the signs of whole clusters are "
      "turned together; all 2^clusters patterns where they are no more than flips, else (1 + as "
      "extreme) / (1 + flips)";
  attributes["definition_p_adjusted"] =
      "the same among all cells of the metric: single-step maximum of the studentised statistic "
      "(Westfall and Young 1993)";
  attributes["definition_q_value"] = "p_value over all cells by Benjamini and Hochberg (1995)";
}

/// What is made of a profile with a null.
void describe_nulls(const RunSummary& run, Json& attributes) {
  attributes["permutations"] = run.statistics.permutations;
  attributes["definition_null_band"] =
      "null_lower, null_upper: quantiles of each layer over null draws; null_simultaneous_*: hold "
      "in all layers together (Myllymaki et al. 2017); null_median: the baseline of the shape";
  attributes["definition_permuted"] =
      "the same of profiles of the heads' means put at random over all layers and heads";
  attributes["definition_shape"] =
      "of the profile: peak, centroid of its excess over null_median, bandwidth where the excess "
      "is "
      "above half of the peak's (relative to the number of layers; clipped where it reaches the "
      "first or last layer; none inside the simultaneous band); intervals over resamples of "
      "clusters";
}

/// What `correct_in` left out.
void describe_filter(const PromptFilter& filter, Json& attributes) {
  attributes["correct_in"] = filter.rule;
  attributes["correct_in_models"] = filter.models;
  attributes["correct_in_right"] = filter.right;
  attributes["correct_in_prompts"] = filter.prompts;
  attributes["correct_in_kept"] = filter.kept;
  attributes["definition_correct_in"] =
      "prompts at every target of which the answer has the largest logit of all in the unedited "
      "run of each of correct_in_models; correct_in_right counts each model's, correct_in_kept "
      "those of all together, out of correct_in_prompts";
}

Json run_attributes(const Json& source, const RunSummary& run) {
  Json attributes = source;
  attributes.erase("stages");
  attributes["n_prompts"] = run.prompts;
  attributes["n_prompts_left_out"] = run.prompts_left_out;
  attributes["n_clusters"] = run.cluster_count;
  attributes["resamples"] = run.statistics.resamples;
  attributes["level"] = run.statistics.level;
  attributes["interval"] = run.statistics.interval;
  const auto tested = std::any_of(run.metrics.begin(), run.metrics.end(),
                                  [](const SummaryMetric& metric) { return metric.tested; });
  if (tested) describe_tests(run, attributes);
  const auto has_null =
      std::any_of(run.metrics.begin(), run.metrics.end(),
                  [](const SummaryMetric& metric) { return metric.null_profile != nullptr; });
  if (has_null) describe_nulls(run, attributes);
  if (run.filter) describe_filter(*run.filter, attributes);
  if (!run.warnings.empty()) attributes["warnings"] = run.warnings;
  if (run.performance) {
    attributes["base_loss"] = run.performance->base_loss;
    attributes["base_accuracy"] = run.performance->base_accuracy;
    attributes["candidate_loss"] = run.performance->candidate_loss;
    attributes["candidate_accuracy"] = run.performance->candidate_accuracy;
    attributes["chance_loss"] = run.performance->chance_loss;
    attributes["chance_accuracy"] = run.performance->chance_accuracy;
    attributes["chance_is_among"] =
        run.performance->has_candidates ? "the tracked tokens" : "the whole vocabulary";
  }
  return attributes;
}

/// Part of a summary's identity: one of an earlier program that stored less is made anew.
Json dataset_names() {
  Json names = Json::array();
  for (const char* name : kSummaryFloats) names.push_back(name);
  for (const char* name : kSummaryCounts) names.push_back(name);
  names.push_back(kSummaryNonFinite);
  names.push_back(kSummaryRank);
  for (const char* name : kTestColumns) names.push_back(name);
  for (const char* name : kNullColumns) names.push_back(name);
  for (const char* name : kPermutationColumns) names.push_back(name);
  names.push_back(kTopColumn);
  for (const std::string& name : shape_quantities()) names.push_back(name);
  return names;
}

/// Adds the datasets of one metric as targets of its own stage.
void add_metric(FileLayout& layout, const std::string& run_folder, int run, int stage,
                const SummaryMetric& metric) {
  const std::string group = run_folder + "/" + metric.name;
  layout.groups.push_back({group, {{"long_name", metric.long_name}, {"units", metric.units}}});
  const auto scales = add_scales(layout, run_folder, metric.axes);
  std::vector<int64_t> shape;
  for (const Axis& axis : metric.axes) shape.push_back(axis.size);
  const auto add = [&](const char* name, ElementType type) {
    layout.targets.push_back(
        {.run = run, .stage = stage, .dataset = static_cast<int32_t>(layout.datasets.size())});
    layout.datasets.push_back({.path = group + "/" + name,
                               .type = type,
                               .shape = shape,
                               .scales = scales,
                               .attributes = {{"units", metric.units}}});
  };
  for (const char* name : kSummaryFloats) add(name, ElementType::f64);
  for (const char* name : kSummaryCounts) add(name, ElementType::i32);
  add(kSummaryNonFinite, ElementType::i32);
  if (metric.ranked) add(kSummaryRank, ElementType::i32);
  for (const std::string& name : metric.further) add(name.c_str(), ElementType::f64);
}

/// Additions that a metric takes.
double summary_flops(const RunSummary& run, const SummaryMetric& metric) {
  const int64_t patterns = run.statistics.resamples + (metric.tested ? run.statistics.flips : 0);
  return static_cast<double>(metric.cells) * static_cast<double>(patterns) *
         static_cast<double>(run.cluster_count);
}

template <typename T>
std::vector<uint8_t> column_content(const ControlComparison& comparison,
                                    const ControlColumn& column) {
  std::vector<T> values;
  values.reserve(comparison.cells.size());
  for (size_t cell = 0; cell < comparison.cells.size(); ++cell)
    values.push_back(static_cast<T>(column.value(comparison, cell)));
  const auto bytes = bytes_of(std::span<const T>(values));
  return {bytes.begin(), bytes.end()};
}

/// Adds a comparison with random sets as datasets with content: they are cheap, and made from what
/// makes the layout.
void add_controls(FileLayout& layout, const std::string& run_folder,
                  const ControlComparison& comparison) {
  const std::string group = run_folder + "/" + comparison.name;
  layout.groups.push_back({group,
                           {{"long_name", comparison.long_name},
                            {"units", comparison.units},
                            {"alternative", alternative_name(comparison.alternative)}}});
  const auto scales = add_scales(layout, run_folder, comparison.axes);
  std::vector<int64_t> shape;
  for (const Axis& axis : comparison.axes) shape.push_back(axis.size);
  for (const ControlColumn& column : control_columns())
    layout.datasets.push_back({.path = group + "/" + column.name,
                               .type = column.is_count ? ElementType::i32 : ElementType::f64,
                               .shape = shape,
                               .scales = scales,
                               .attributes = {{"long_name", column.long_name}},
                               .content = column.is_count
                                              ? column_content<int32_t>(comparison, column)
                                              : column_content<double>(comparison, column)});
}

const Json& group_attributes(const FileLayout& layout, const std::string& path) {
  const auto found = std::find_if(layout.groups.begin(), layout.groups.end(),
                                  [&](const GroupSpec& group) { return group.path == path; });
  if (found == layout.groups.end())
    fail(ErrorKind::input, "the group '{}' is missing: the file is damaged", path);
  return found->attributes;
}

}  // namespace

SummaryPlan plan_summary(const FileLayout& source, const std::string& source_name,
                         const std::vector<RunSummary>& runs, const std::string& source_state) {
  SummaryPlan plan;
  FileLayout& layout = plan.layout;
  const Json identity = {{"format_version", kFormatVersion},
                         {"datasets", dataset_names()},
                         {"source_key", source.attributes.at("key")},
                         {"source_state", source_state}};
  layout.attributes = {{"format", kSummaryFormat},
                       {"format_version", kFormatVersion},
                       {"identity", identity.dump()},
                       {"key", sha256_hex(identity.dump())},
                       {"source", source_name},
                       {"source_key", source.attributes.at("key")},
                       {"software_version", software_version()}};
  for (const char* name : {"name", "config", "seed", "kernels"})
    layout.attributes[name] = source.attributes.at(name);
  for (const GroupSpec& group : source.groups)
    if (group.path.starts_with("/models/")) layout.groups.push_back(group);
  for (size_t r = 0; r < runs.size(); ++r) {
    const RunSummary& run = runs[r];
    const std::string folder = run_group(run.id);
    layout.groups.push_back({folder, run_attributes(group_attributes(source, folder), run)});
    for (size_t m = 0; m < run.metrics.size(); ++m) {
      const SummaryMetric& metric = run.metrics[m];
      const int stage = static_cast<int>(m);
      add_metric(layout, folder, static_cast<int>(r), stage, metric);
      layout.units.push_back({.id = unit_id(run.id, metric.name),
                              .run = static_cast<int32_t>(r),
                              .stage = stage,
                              .prompts = {0, metric.axes.front().size},
                              .flops = summary_flops(run, metric)});
      plan.units.push_back({static_cast<int>(r), stage});
    }
    for (const ControlComparison& comparison : run.controls)
      add_controls(layout, folder, comparison);
  }
  return plan;
}

UnitResult summary_blocks(const SummaryMetric& metric, const MetricSummary& summary) {
  UnitResult result;
  const auto add = [&]<typename T>(const std::vector<T>& values) {
    const auto bytes = bytes_of(std::span<const T>(values));
    result.blocks.push_back({static_cast<int>(result.blocks.size()), {bytes.begin(), bytes.end()}});
  };
  const auto column = [&](auto value) {
    std::vector<decltype(value(summary.cells.front()))> values;
    for (const CellEstimate& cell : summary.cells) values.push_back(value(cell));
    add(values);
  };
  using Cell = const CellEstimate&;
  column([](Cell cell) { return cell.estimate; });
  column([](Cell cell) { return cell.intervals.standard_error; });
  column([](Cell cell) { return cell.intervals.percentile_low; });
  column([](Cell cell) { return cell.intervals.percentile_high; });
  column([](Cell cell) { return cell.intervals.bca_low; });
  column([](Cell cell) { return cell.intervals.bca_high; });
  column([](Cell cell) { return static_cast<int32_t>(cell.prompts); });
  column([](Cell cell) { return static_cast<int32_t>(cell.clusters); });
  ensure(std::ssize(metric.non_finite) == metric.cells,
         "a metric counts its broken values by cell");
  add(metric.non_finite);
  if (metric.ranked) add(summary.ranks);
  ensure(summary.further.size() == metric.further.size(),
         "a metric has every column that it names");
  for (const std::vector<double>& column_values : summary.further) add(column_values);
  return result;
}

}  // namespace mechsweep
