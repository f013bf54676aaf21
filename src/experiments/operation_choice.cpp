#include "experiments/operation_choice.h"

#include <algorithm>

#include <fmt/format.h>

#include "experiments/head_scores.h"

namespace mechsweep {

bool OperationChoice::uses(const std::string& operation) const {
  return std::find(operations.begin(), operations.end(), operation) != operations.end();
}

void OperationChoice::read_operations(MapReader& reader, const std::vector<std::string>& known) {
  const ConfigNode* node = reader.require("operation");
  if (node == nullptr) return;
  Problems& problems = reader.problems();
  operation_axis = node->kind == ConfigNode::Kind::list;
  const std::vector<ConfigNode> alone = {*node};
  for (const ConfigNode& item : operation_axis ? node->items : alone) {
    const auto name = node_choice(item, problems, known);
    if (!name) continue;
    if (uses(*name)) problems.add(item, fmt::format("names '{}' twice", *name));
    operations.push_back(*name);
  }
  if (operation_axis && node->items.empty()) problems.add(*node, "names no operation");
}

void OperationChoice::read_operation_keys(MapReader& reader) {
  mean_over = mean_over_of(reader.choice_or("mean_over", "template", {"template", "all"}));
  if (reader.has("mean_over") && !uses("mean"))
    reader.problems().add(*reader.get("mean_over"), "goes with the operation mean only");
  draws = reader.integer_or("draws", 1, 1, kMostDraws);
  if (!reader.has("draws")) return;
  if (!uses("resample")) {
    reader.problems().add(*reader.get("draws"), "goes with the operation resample only");
  } else if (draws > 1 && operations.size() > 1) {
    reader.problems().add(*reader.get("draws"),
                          "more than one draw needs an experiment of its own, with `operation: "
                          "resample` alone");
  }
}

Json OperationChoice::operations_json() const {
  Json json = {{"operation", operation_axis ? Json(operations) : Json(operations.front())}};
  if (uses("mean")) json["mean_over"] = mean_over_name(mean_over);
  if (uses("resample")) json["draws"] = draws;
  return json;
}

std::vector<Axis> OperationChoice::operation_axes() const {
  std::vector<Axis> axes;
  if (operation_axis)
    axes.push_back({.name = "operation", .size = std::ssize(operations), .labels = operations});
  if (draws > 1) axes.push_back({.name = kDrawAxis, .size = draws});
  return axes;
}

}  // namespace mechsweep
