#include "experiments/head_ablation.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "experiments/activation_sums.h"
#include "experiments/edit_grid.h"
#include "experiments/effect_run.h"
#include "experiments/resample_donors.h"
#include "experiments/selection.h"

namespace mechsweep {

namespace {

constexpr int64_t kMostDraws = 100'000;

/// An operation on heads, as users name it.
struct HeadOperation {
  const char* name;
  const char* done;  ///< "z of one head ..."
  const char* definition;
};

const std::vector<HeadOperation>& head_operations() {
  static const std::vector<HeadOperation> kOperations = {
      {"zero", "zeroed",
       "z := 0 on raw weights: removes the value bias's contribution, keeps the output bias"},
      {"value_bias", "set to the value bias",
       "z := the value bias of its key/value head, 0 where the model has none"},
      {"mean", "set to the mean over other prompts",
       "z := mean over the clean runs of the other prompts of the source (mean_over), positions "
       "aligned from the end"},
      {"resample", "taken from another prompt",
       "z := that of the clean run of another prompt of the same length, drawn with the seed, at "
       "the same position"},
  };
  return kOperations;
}

const HeadOperation& head_operation(const std::string& name) {
  for (const HeadOperation& operation : head_operations())
    if (operation.name == name) return operation;
  ensure(false, "an operation that was checked is gone");
  return head_operations().front();
}

struct Parameters {
  std::vector<std::string> operations;  ///< more than one: an axis
  bool operation_axis = false;
  MeanOver mean_over = MeanOver::own_template;
  int64_t draws = 1;  ///< more than one: an axis
  PositionSelection positions;
  HeadSelection heads;
  LayerSelection layers;
  Downstream downstream = Downstream::recompute;
  Readouts readouts;

  [[nodiscard]] bool uses(const std::string& operation) const {
    return std::find(operations.begin(), operations.end(), operation) != operations.end();
  }
};

class HeadAblationRun final : public EffectRun {
 public:
  HeadAblationRun(const RunContext& context, const Parameters& parameters, EditGrid grid)
      : EffectRun(context, {.grid = all_axes(parameters, grid), .readouts = parameters.readouts}),
        parameters_(parameters),
        grid_(std::move(grid)),
        means_(context, Side::clean),
        donors_(context) {
    if (parameters_.uses("resample")) donors_.check();
    if (parameters_.uses("mean")) prepare_means();
  }

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    attributes["site"] = "z";
    attributes["operation"] = parameters_.operations.front();
    if (parameters_.operation_axis) attributes["operation"] = parameters_.operations;
    attributes["positions"] = parameters_.positions.describe();
    attributes["downstream"] = downstream_name(parameters_.downstream);
    const std::string done =
        parameters_.operations.size() == 1
            ? head_operation(parameters_.operations.front()).done
            : fmt::format("ablated ({})", fmt::join(parameters_.operations, ", "));
    attributes["estimand"] = fmt::format(
        "z of {} {} at {}, {}",
        parameters_.heads.kind == HeadSelection::Kind::sets ? "all heads of a set together"
                                                            : "one head",
        done, parameters_.positions.describe(), describe_downstream(parameters_.downstream));
    for (const std::string& name : parameters_.operations)
      attributes["definition_" + name] = head_operation(name).definition;
    if (parameters_.uses("mean")) attributes["mean_over"] = mean_over_name(parameters_.mean_over);
    if (parameters_.uses("resample")) attributes["draws"] = parameters_.draws;
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* executor) const override {
    const size_t after_grid = grid_.axes().size();
    const std::string& operation =
        parameters_.operations[parameters_.operation_axis ? place[after_grid] : 0];
    const int64_t draw = parameters_.draws > 1 ? place.back() : 0;
    auto edits = grid_.edits(prompts()[prompt], place, edit(operation, prompt, draw, executor));
    if (!edits) return std::nullopt;
    return Intervention{Side::clean, std::move(*edits), parameters_.downstream};
  }

 private:
  static std::vector<Axis> all_axes(const Parameters& parameters, const EditGrid& grid) {
    std::vector<Axis> axes = grid.axes();
    if (parameters.operation_axis)
      axes.push_back({.name = "operation",
                      .size = std::ssize(parameters.operations),
                      .labels = parameters.operations});
    if (parameters.draws > 1) axes.push_back({.name = "draw", .size = parameters.draws});
    return axes;
  }

  /// The edit without its place.
  [[nodiscard]] Edit edit(const std::string& operation, int64_t prompt, int64_t draw,
                          Executor* executor) const {
    Edit edit{.site = Site::z};
    if (operation == "value_bias") edit.operation = Operation::value_bias;
    if (operation == "resample") {
      edit.operation = Operation::replace;
      edit.donor = {donors_.donor(prompt, draw), Side::clean};
    }
    if (operation == "mean") {
      edit.operation = Operation::mean;
      edit.leave_out = true;
      edit.donor = {-1, Side::clean};
      if (executor != nullptr)
        edit.sums = means_.sums(parameters_.mean_over, Site::z, prompt, *executor);
    }
    return edit;
  }

  void prepare_means() {
    for (const int layer : grid_.layers()) means_.need(parameters_.mean_over, Site::z, layer);
    for (size_t p = 0; p < prompts().size(); ++p)
      means_.check(parameters_.mean_over, static_cast<int64_t>(p), grid_.positions(prompts()[p]),
                   "mean_over");
  }

  Parameters parameters_;
  EditGrid grid_;
  MeanSources means_;
  ResampleDonors donors_;
};

class HeadAblation final : public Experiment {
 public:
  explicit HeadAblation(MapReader& reader) {
    const ConfigNode* operation = reader.require("operation");
    if (operation != nullptr) read_operations(*operation, reader.problems());
    parameters_.positions = parse_positions(reader);
    parameters_.heads = parse_heads(reader);
    parameters_.layers = parse_layers(reader);
    parameters_.downstream = parse_downstream(reader);
    parameters_.readouts = parse_readouts(reader);
    read_operation_keys(reader);
    check_heads_and_layers(parameters_.heads, parameters_.layers, reader);
  }

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    Json json = {{"operation", parameters_.operation_axis ? Json(parameters_.operations)
                                                          : Json(parameters_.operations.front())},
                 {"positions", parameters_.positions.to_json()},
                 {"heads", parameters_.heads.to_json()},
                 {"layers", parameters_.layers.to_json()},
                 {"downstream", downstream_name(parameters_.downstream)}};
    if (parameters_.uses("mean")) json["mean_over"] = mean_over_name(parameters_.mean_over);
    if (parameters_.uses("resample")) json["draws"] = parameters_.draws;
    json.update(parameters_.readouts.to_json());
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    HeadGrid heads(parameters_.heads, parameters_.layers, Site::z, *context.model);
    return std::make_unique<HeadAblationRun>(
        context, parameters_, EditGrid(std::move(heads), parameters_.positions, *context.prompts));
  }

 private:
  void read_operations(const ConfigNode& node, Problems& problems) {
    std::vector<std::string> known;
    for (const HeadOperation& operation : head_operations()) known.emplace_back(operation.name);
    parameters_.operation_axis = node.kind == ConfigNode::Kind::list;
    const std::vector<ConfigNode> alone = {node};
    for (const ConfigNode& item : parameters_.operation_axis ? node.items : alone) {
      const auto name = node_choice(item, problems, known);
      if (!name) continue;
      if (parameters_.uses(*name)) problems.add(item, fmt::format("names '{}' twice", *name));
      parameters_.operations.push_back(*name);
    }
    if (parameters_.operation_axis && node.items.empty()) problems.add(node, "names no operation");
  }

  void read_operation_keys(MapReader& reader) {
    parameters_.mean_over =
        mean_over_of(reader.choice_or("mean_over", "template", {"template", "all"}));
    if (reader.has("mean_over") && !parameters_.uses("mean"))
      reader.problems().add(*reader.get("mean_over"), "goes with the operation mean only");
    parameters_.draws = reader.integer_or("draws", 1, 1, kMostDraws);
    if (!reader.has("draws")) return;
    if (!parameters_.uses("resample")) {
      reader.problems().add(*reader.get("draws"), "goes with the operation resample only");
    } else if (parameters_.draws > 1 && parameters_.operations.size() > 1) {
      reader.problems().add(*reader.get("draws"),
                            "more than one draw needs an experiment of its own, with `operation: "
                            "resample` alone");
    }
  }

  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_head_ablation(MapReader& reader) {
  return std::make_unique<HeadAblation>(reader);
}

}  // namespace mechsweep
