#include "experiments/head_ablation.h"

#include <algorithm>

#include "experiments/edit_grid.h"
#include "experiments/effect_run.h"
#include "experiments/selection.h"

namespace mechsweep {

namespace {

struct Parameters {
  std::vector<std::string> operations;  ///< more than one: an axis
  bool operation_axis = false;
  PositionSelection positions;
  HeadSelection heads;
  LayerSelection layers;
};

class HeadAblationRun final : public EffectRun {
 public:
  HeadAblationRun(const RunContext& context, const Parameters& parameters, EditGrid grid)
      : EffectRun(context, Side::clean, std::nullopt, all_axes(parameters, grid)),
        parameters_(parameters),
        grid_(std::move(grid)) {}

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    attributes["site"] = "z";
    attributes["operation"] = parameters_.operations.front();
    if (parameters_.operation_axis) attributes["operation"] = parameters_.operations;
    attributes["positions"] = parameters_.positions.describe();
    attributes["estimand"] = fmt::format("z of {} zeroed at {}, downstream recomputed",
                                         parameters_.heads.kind == HeadSelection::Kind::sets
                                             ? "all heads of a set together"
                                             : "one head",
                                         parameters_.positions.describe());
    attributes["definition_zero"] =
        "z := 0 on raw weights: removes the value bias's contribution, keeps the output bias";
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<std::vector<Edit>> edits(
      const Prompt& prompt, std::span<const int64_t> place) const override {
    return grid_.edits(prompt, place, {.site = Site::z, .operation = Operation::zero});
  }

 private:
  static std::vector<Axis> all_axes(const Parameters& parameters, const EditGrid& grid) {
    std::vector<Axis> axes = grid.axes();
    if (parameters.operation_axis)
      axes.push_back({.name = "operation",
                      .size = static_cast<int64_t>(parameters.operations.size()),
                      .labels = parameters.operations});
    return axes;
  }

  Parameters parameters_;
  EditGrid grid_;
};

class HeadAblation final : public Experiment {
 public:
  explicit HeadAblation(MapReader& reader) {
    const ConfigNode* operation = reader.require("operation");
    if (operation != nullptr) {
      parameters_.operation_axis = operation->kind == ConfigNode::Kind::list;
      parameters_.operations =
          node_texts(*operation, reader.problems()).value_or(std::vector<std::string>());
      check_operations(*operation, reader.problems());
    }
    parameters_.positions = parse_positions(reader);
    parameters_.heads = parse_heads(reader);
    parameters_.layers = parse_layers(reader);
    check_heads_and_layers(parameters_.heads, parameters_.layers, reader);
  }

  [[nodiscard]] Json parameters() const override {
    return {{"operation", parameters_.operation_axis       ? Json(parameters_.operations)
                          : parameters_.operations.empty() ? Json()
                                                           : Json(parameters_.operations.front())},
            {"positions", parameters_.positions.to_json()},
            {"heads", parameters_.heads.to_json()},
            {"layers", parameters_.layers.to_json()}};
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    HeadGrid heads(parameters_.heads, parameters_.layers, true, *context.model);
    return std::make_unique<HeadAblationRun>(
        context, parameters_, EditGrid(std::move(heads), parameters_.positions, *context.prompts));
  }

 private:
  void check_operations(const ConfigNode& node, Problems& problems) const {
    if (node.kind == ConfigNode::Kind::list && node.items.empty())
      problems.add(node, "names no operation");
    for (const std::string& name : parameters_.operations)
      if (name != "zero")
        problems.add(node, fmt::format("operation '{}' is not available for heads in this version "
                                       "(available: zero)",
                                       name));
    auto sorted = parameters_.operations;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
      problems.add(node, "names an operation twice");
  }

  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_head_ablation(MapReader& reader) {
  return std::make_unique<HeadAblation>(reader);
}

}  // namespace mechsweep
