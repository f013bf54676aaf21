#include "app/summary_tables.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "app/control_tables.h"
#include "app/stored_summary.h"
#include "app/tidy_rows.h"
#include "core/error.h"
#include "core/json.h"
#include "experiments/profile_null.h"
#include "store/posix_file.h"
#include "store/results_file.h"
#include "store/summary_layout.h"

namespace mechsweep {

namespace {

constexpr size_t kStrongest = 10;

void write_text(const std::string& path, const std::string& text) {
  write_whole_file(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

/// JSON has no NaN: it becomes null.
Json number(double value) {
  return std::isnan(value) ? Json() : Json(without_negative_zero(value));
}

Json coordinate(const Axis& axis, int64_t place) {
  if (!axis.labels.empty()) return axis.labels[place];
  return axis.coordinates.empty() ? place : axis.coordinates[place];
}

Json cell_json(const StoredMetric& metric, int64_t cell) {
  Json json;
  int64_t rest = cell;
  for (auto axis = metric.axes.rbegin(); axis != metric.axes.rend(); ++axis) {
    json[axis->name] = coordinate(*axis, rest % axis->size);
    rest /= axis->size;
  }
  for (const auto& [name, values] : metric.values)
    if (name != kSummaryNonFinite || values[cell] > 0) json[name] = number(values[cell]);
  return json;
}

/// Values of a metric that are no numbers though they should be, over all cells.
int64_t non_finite_of(const StoredMetric& metric) {
  const auto found = metric.values.find(kSummaryNonFinite);
  if (found == metric.values.end()) return 0;  // a summary of an earlier program
  return static_cast<int64_t>(std::accumulate(found->second.begin(), found->second.end(), 0.0));
}

Json strongest_of(const StoredMetric& metric) {
  const std::vector<double>& ranks = metric.values.at(kSummaryRank);
  std::vector<int64_t> cells;
  for (size_t i = 0; i < ranks.size(); ++i)
    if (ranks[i] > 0) cells.push_back(static_cast<int64_t>(i));
  std::sort(cells.begin(), cells.end(), [&](int64_t a, int64_t b) { return ranks[a] < ranks[b]; });
  cells.resize(std::min(cells.size(), kStrongest));
  Json list = Json::array();
  for (const int64_t cell : cells) list.push_back(cell_json(metric, cell));
  return list;
}

int64_t cells_of(const StoredMetric& metric) {
  return std::ssize(metric.values.at("mean"));
}

/// By quantity; without the bounds of those that have none.
Json shape_json(const StoredMetric& metric) {
  Json shape;
  for (int64_t cell = 0; cell < cells_of(metric); ++cell) {
    Json quantity;
    for (const auto& [name, values] : metric.values)
      if (name == "mean" || (name != kSummaryNonFinite && !std::isnan(values[cell])))
        quantity[name] = number(values[cell]);
    shape[metric.axes.front().labels[cell]] = quantity;
  }
  return shape;
}

/// Columns that some metric has, beyond those of all tables.
std::vector<std::string> further_columns(const std::vector<StoredSummary>& summaries) {
  std::vector<std::string> names;
  const auto add = [&](const char* name) {
    for (const auto& summary : summaries)
      for (const auto& metric : summary.metrics)
        if (metric.values.contains(name)) {
          names.emplace_back(name);
          return;
        }
  };
  add(kTopColumn);
  for (const char* name : kNullColumns) add(name);
  for (const char* name : kPermutationColumns) add(name);
  return names;
}

Json run_json(const StoredSummary& summary) {
  Json run = {{"run", summary.run_id}};
  for (const char* name : {"kind",
                           "estimand",
                           "site",
                           "operation",
                           "positions",
                           "direction",
                           "prefix",
                           "n_prompts",
                           "n_prompts_left_out",
                           "n_clusters",
                           "resamples",
                           "level",
                           "flips",
                           "permutations",
                           "queries",
                           "occurrence",
                           "null_draws",
                           "null_max_shift",
                           "top_fraction",
                           "top_heads",
                           "base_loss",
                           "base_accuracy",
                           "candidate_loss",
                           "candidate_accuracy",
                           "chance_loss",
                           "chance_accuracy",
                           "chance_is_among",
                           "correct_in",
                           "correct_in_models",
                           "correct_in_right",
                           "correct_in_prompts",
                           "correct_in_kept",
                           "warnings"})
    if (summary.attributes.contains(name)) run[name] = summary.attributes.at(name);
  for (const StoredMetric& metric : summary.metrics) {
    if (const int64_t count = non_finite_of(metric)) run["non_finite"][metric.name] = count;
    if (metric.values.contains(kSummaryRank)) run["strongest"][metric.name] = strongest_of(metric);
    if (metric.axes.front().name == kQuantityAxis) run["shapes"][metric.name] = shape_json(metric);
    if (!metric.name.ends_with(kProfileSuffix)) continue;
    Json profile = Json::array();
    for (int64_t cell = 0; cell < cells_of(metric); ++cell)
      profile.push_back(cell_json(metric, cell));
    run["profiles"][metric.name] = profile;
  }
  return run;
}

}  // namespace

void write_summary_csv(const std::string& summary_path, const std::string& csv_path) {
  const ResultsReader reader(summary_path);
  const auto summaries = read_summaries(reader);
  AxisColumns columns;
  for (const auto& summary : summaries)
    for (const auto& metric : summary.metrics) columns.include(metric.axes);
  std::string text = "run,model,prompts";
  for (const std::string& name : columns.names()) text += "," + name;
  text += ",metric,units";
  std::vector<std::string> datasets(std::begin(kSummaryFloats), std::end(kSummaryFloats));
  datasets.insert(datasets.end(), std::begin(kSummaryCounts), std::end(kSummaryCounts));
  datasets.emplace_back(kSummaryRank);
  datasets.insert(datasets.end(), std::begin(kTestColumns), std::end(kTestColumns));
  for (const std::string& name : further_columns(summaries)) datasets.push_back(name);
  bool any_non_finite = false;
  for (const auto& summary : summaries)
    for (const auto& metric : summary.metrics) any_non_finite |= non_finite_of(metric) > 0;
  if (any_non_finite) datasets.emplace_back(kSummaryNonFinite);
  for (const std::string& name : datasets)
    text += "," + (name == "prompts" || name == "clusters" ? "n_" + name : name);
  text += "\n";
  for (const auto& summary : summaries)
    for (const auto& metric : summary.metrics) {
      const int64_t cells = cells_of(metric);
      for (int64_t cell = 0; cell < cells; ++cell) {
        text += run_fields(summary.run_id) + "," + columns.cells(metric.axes, cell) + "," +
                csv_field(metric.name) + "," + csv_field(metric.units);
        for (const std::string& name : datasets) {
          const auto found = metric.values.find(name);
          text += "," + (found == metric.values.end() ? "" : number_text(found->second[cell]));
        }
        text += "\n";
      }
    }
  write_text(csv_path, text);
}

void write_summary_json(const std::string& summary_path, const std::string& json_path) {
  const ResultsReader reader(summary_path);
  Json document;
  const Json& root = reader.layout().attributes;
  for (const char* name : {"name", "source", "source_key", "software_version", "seed", "kernels"})
    if (root.contains(name)) document[name] = root.at(name);
  document["runs"] = Json::array();
  for (const auto& summary : read_summaries(reader)) {
    Json run = run_json(summary);
    Json controls = control_json(reader, summary.run_id);
    if (!controls.is_null()) run["controls"] = std::move(controls);
    document["runs"].push_back(std::move(run));
  }
  write_text(json_path, document.dump(2) + "\n");
}

}  // namespace mechsweep
