#include "app/tidy_rows.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"

namespace mechsweep {

namespace {

constexpr const char* kNamedHead = "named_head";
constexpr const char* kAll = "all";

std::string place_text(const Axis& axis, int64_t index) {
  if (!axis.labels.empty()) return csv_field(axis.labels[index]);
  return std::to_string(axis.coordinates.empty() ? index : axis.coordinates[index]);
}

}  // namespace

void AxisColumns::include(const std::vector<Axis>& axes) {
  for (const Axis& axis : axes)
    if (axis.name != kNamedHead && axis.name != kAll &&
        std::find(names_.begin(), names_.end(), axis.name) == names_.end())
      names_.push_back(axis.name);
}

std::string AxisColumns::cells(const std::vector<Axis>& axes, int64_t index) const {
  std::vector<std::string> values(names_.size());
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    const int64_t place = index % axis->size;
    index /= axis->size;
    if (axis->name == kAll) continue;
    if (axis->name == kNamedHead) {
      const std::string& label = axis->labels[place];  // L9H5
      const size_t h = label.find('H');
      values[0] = label.substr(1, h - 1);
      values[1] = label.substr(h + 1);
      continue;
    }
    const auto column = std::find(names_.begin(), names_.end(), axis->name);
    ensure(column != names_.end(), "an axis has no column");
    values[column - names_.begin()] = place_text(*axis, place);
  }
  std::string text;
  for (size_t i = 0; i < values.size(); ++i) text += (i > 0 ? "," : "") + values[i];
  return text;
}

double without_negative_zero(double value) {
  return value == 0.0 ? 0.0 : value;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "";
  return fmt::format("{:.9g}", without_negative_zero(value));
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

std::string run_fields(const std::string& run_id) {
  std::string model_and_prompts = run_id.substr(std::min(run_id.find('/'), run_id.size()));
  std::replace(model_and_prompts.begin(), model_and_prompts.end(), '/', ',');
  return run_id + model_and_prompts;
}

}  // namespace mechsweep
