#include "app/control_tables.h"

#include <cmath>
#include <map>
#include <vector>

#include "app/tidy_rows.h"
#include "experiments/control_summary.h"
#include "store/posix_file.h"
#include "store/results_file.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

/// A comparison as the summary file holds it.
struct StoredComparison {
  std::string run_id;
  std::string metric;  ///< "delta_loss"
  std::string alternative;
  std::vector<Axis> axes;
  std::map<std::string, std::vector<double>> values;  ///< by ControlColumn::name

  [[nodiscard]] int64_t cells() const { return std::ssize(values.begin()->second); }
};

std::vector<StoredComparison> comparisons_of(const ResultsReader& reader,
                                             const std::string& run_id) {
  std::vector<StoredComparison> found;
  const std::string start = run_group(run_id) + "/" + kControlPrefix;
  for (const GroupSpec& group : reader.layout().groups) {
    if (!group.path.starts_with(start)) continue;
    StoredComparison comparison{.run_id = run_id,
                                .metric = group.path.substr(start.size()),
                                .alternative = group.attributes.value("alternative", "")};
    for (const ControlColumn& column : control_columns()) {
      StoredArray array = reader.read_array(group.path + "/" + column.name);
      comparison.axes = array.axes;
      comparison.values[column.name] = std::move(array.values);
    }
    found.push_back(std::move(comparison));
  }
  return found;
}

}  // namespace

void write_control_csv(const std::string& summary_path, const std::string& csv_path) {
  const ResultsReader reader(summary_path);
  std::vector<StoredComparison> all;
  for (const std::string& id : reader.run_ids())
    for (StoredComparison& one : comparisons_of(reader, id)) all.push_back(std::move(one));
  if (all.empty()) {
    remove_file(csv_path);
    return;
  }
  AxisColumns columns;
  for (const StoredComparison& one : all) columns.include(one.axes);
  std::string text = "run,model,prompts";
  for (const std::string& name : columns.names()) text += "," + name;
  text += ",metric,alternative";
  for (const ControlColumn& column : control_columns())
    text += std::string(",") + (column.is_count ? "n_" : "") + column.name;
  text += "\n";
  for (const StoredComparison& one : all)
    for (int64_t cell = 0; cell < one.cells(); ++cell) {
      text += run_fields(one.run_id) + "," + columns.cells(one.axes, cell) + "," +
              csv_field(one.metric) + "," + one.alternative;
      for (const ControlColumn& column : control_columns())
        text += "," + number_text(one.values.at(column.name)[cell]);
      text += "\n";
    }
  write_whole_file(csv_path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

Json control_json(const ResultsReader& reader, const std::string& run_id) {
  Json json;
  for (const StoredComparison& one : comparisons_of(reader, run_id)) {
    Json list = Json::array();
    for (int64_t cell = 0; cell < one.cells(); ++cell) {
      Json entry = {{"alternative", one.alternative}};
      int64_t rest = cell;
      for (auto axis = one.axes.rbegin(); axis != one.axes.rend(); ++axis) {
        const int64_t place = rest % axis->size;
        rest /= axis->size;
        if (!axis->labels.empty()) {
          entry[axis->name] = axis->labels[place];
        } else {
          entry[axis->name] = axis->coordinates.empty() ? place : axis->coordinates[place];
        }
      }
      for (const ControlColumn& column : control_columns()) {
        const double value = one.values.at(column.name)[cell];
        entry[column.name] = std::isnan(value) ? Json() : Json(without_negative_zero(value));
      }
      list.push_back(std::move(entry));
    }
    json[one.metric] = std::move(list);
  }
  return json;
}

}  // namespace mechsweep
