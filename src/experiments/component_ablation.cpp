#include "experiments/component_ablation.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "experiments/activation_sums.h"
#include "experiments/component_grid.h"
#include "experiments/effect_run.h"
#include "experiments/head_scores.h"
#include "experiments/operation_choice.h"
#include "experiments/resample_donors.h"
#include "experiments/selection.h"

namespace mechsweep {

namespace {

/// An operation on components, as users name it.
struct ComponentOperation {
  const char* name;
  const char* done;  ///< "mlp_out of one layer ..."
  const char* definition;
};

const std::vector<ComponentOperation>& component_operations() {
  static const std::vector<ComponentOperation> kOperations = {
      {"zero", "zeroed",
       "x := 0; of attn_out and mlp_out with their output bias, and after the norm that some "
       "architectures put there"},
      {"mean", "set to the mean over other prompts",
       "x := mean over the clean runs of the other prompts of the source (mean_over), positions "
       "aligned from the end"},
      {"resample", "taken from another prompt",
       "x := that of the clean run of another prompt of the same length, drawn with the seed, at "
       "the same position"},
  };
  return kOperations;
}

const ComponentOperation& component_operation(const std::string& name) {
  for (const ComponentOperation& operation : component_operations())
    if (operation.name == name) return operation;
  ensure(false, "an operation that was checked is gone");
  return component_operations().front();
}

/// The sites that have no heads, in the order of a layer.
std::vector<std::string> component_names() {
  std::vector<std::string> names;
  for (const SiteInfo& info : site_table())
    if (info.heads == SiteHeads::none) names.emplace_back(info.name);
  return names;
}

struct Parameters : OperationChoice {
  std::vector<Site> components;            ///< an axis
  std::optional<NeuronSelection> neurons;  ///< instead of components
  PositionSelection positions;
  LayerSelection layers;
  Downstream downstream = Downstream::recompute;
  Readouts readouts;

  [[nodiscard]] std::vector<std::string> site_names() const {
    if (neurons) return {"mlp_hidden"};
    std::vector<std::string> names;
    names.reserve(components.size());
    for (const Site site : components) names.emplace_back(site_info(site).name);
    return names;
  }
};

class ComponentAblationRun final : public EffectRun {
 public:
  ComponentAblationRun(const RunContext& context, const Parameters& parameters, ComponentGrid grid)
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
    attributes["site"] = fmt::format("{}", fmt::join(parameters_.site_names(), ", "));
    attributes["positions"] = parameters_.positions.describe();
    attributes["downstream"] = downstream_name(parameters_.downstream);
    attributes["estimand"] = estimand();
    parameters_.describe_operations(
        attributes, [](const std::string& name) { return component_operation(name).definition; });
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* executor) const override {
    auto edits = grid_.edits(prompts()[prompt], place);
    if (!edits) return std::nullopt;
    const size_t after_grid = grid_.axes().size();
    const std::string& operation =
        parameters_.operations[parameters_.operation_axis ? place[after_grid] : 0];
    const int64_t draw = parameters_.draws > 1 ? place.back() : 0;
    for (Edit& edit : *edits) complete(edit, operation, prompt, draw, executor);
    return Intervention{Side::clean, std::move(*edits), parameters_.downstream};
  }

 private:
  static std::vector<Axis> all_axes(const Parameters& parameters, const ComponentGrid& grid) {
    std::vector<Axis> axes = grid.axes();
    for (Axis& axis : parameters.operation_axes()) axes.push_back(std::move(axis));
    return axes;
  }

  [[nodiscard]] std::string estimand() const {
    const std::string done =
        parameters_.operations.size() == 1
            ? component_operation(parameters_.operations.front()).done
            : fmt::format("ablated ({})", fmt::join(parameters_.operations, ", "));
    std::string what = fmt::format("{} of one layer", fmt::join(parameters_.site_names(), " or "));
    if (parameters_.neurons)
      what = parameters_.neurons->kind == NeuronSelection::Kind::sets
                 ? "all neurons of a set together (mlp_hidden)"
                 : "one neuron (mlp_hidden)";
    return fmt::format("{} {} at {}, {}", what, done, parameters_.positions.describe(),
                       describe_downstream(parameters_.downstream));
  }

  /// Gives an edit its operation and where that takes its value from.
  void complete(Edit& edit, const std::string& operation, int64_t prompt, int64_t draw,
                Executor* executor) const {
    const bool neuron = edit.vector != nullptr;
    if (operation == "zero" && neuron) edit.operation = Operation::remove;
    if (operation == "resample") {
      edit.operation = neuron ? Operation::transplant : Operation::replace;
      edit.donor = {donors_.donor(prompt, draw), Side::clean};
    }
    if (operation == "mean") {
      edit.operation = Operation::mean;
      edit.leave_out = true;
      edit.donor = {-1, Side::clean};
      if (executor != nullptr)
        edit.sums = means_.sums(parameters_.mean_over, edit.site, prompt, *executor);
    }
  }

  void prepare_means() {
    for (const auto& [site, layer] : grid_.sites()) means_.need(parameters_.mean_over, site, layer);
    for (size_t p = 0; p < prompts().size(); ++p)
      means_.check(parameters_.mean_over, static_cast<int64_t>(p), grid_.positions(prompts()[p]),
                   "mean_over");
  }

  Parameters parameters_;
  ComponentGrid grid_;
  MeanSources means_;
  ResampleDonors donors_;
};

class ComponentAblation final : public Experiment {
 public:
  explicit ComponentAblation(MapReader& reader) {
    read_components(reader);
    std::vector<std::string> known;
    for (const ComponentOperation& operation : component_operations())
      known.emplace_back(operation.name);
    parameters_.read_operations(reader, known);
    parameters_.positions = parse_positions(reader);
    parameters_.layers = parse_layers(reader);
    parameters_.downstream = parse_downstream(reader);
    parameters_.readouts = parse_readouts(reader);
    parameters_.read_operation_keys(reader);
    if (parameters_.neurons && !parameters_.layers.all)
      reader.problems().add(*reader.get("layers"),
                            "goes not with `neurons`: their names carry their layers");
    if (parameters_.neurons && parameters_.uses("mean"))
      reader.problems().add(*reader.get("operation"),
                            "mean goes with `components` only; neurons have zero and resample");
  }

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    Json json = {{"positions", parameters_.positions.to_json()},
                 {"layers", parameters_.layers.to_json()},
                 {"downstream", downstream_name(parameters_.downstream)}};
    if (parameters_.neurons) {
      json["neurons"] = parameters_.neurons->to_json();
    } else {
      json["components"] = parameters_.site_names();
    }
    json.update(parameters_.operations_json());
    json.update(parameters_.readouts.to_json());
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    return std::make_unique<ComponentAblationRun>(
        context, parameters_,
        ComponentGrid(parameters_.components, parameters_.neurons, parameters_.layers,
                      parameters_.positions, *context.model, *context.prompts));
  }

 private:
  void read_components(MapReader& reader) {
    Problems& problems = reader.problems();
    parameters_.neurons = parse_neurons(reader);
    const ConfigNode* node = reader.get("components");
    if (node == nullptr) {
      if (!parameters_.neurons)
        problems.add(reader.node(), "needs `components` such as [attn_out, mlp_out], or `neurons`");
      return;
    }
    if (parameters_.neurons)
      problems.add(*node, "goes not with `neurons`; give them experiments of their own");
    const std::vector<ConfigNode> alone = {*node};
    for (const ConfigNode& item : node->kind == ConfigNode::Kind::list ? node->items : alone) {
      const auto name = node_choice(item, problems, component_names());
      if (!name) continue;
      const Site site = *find_site(*name);
      auto& all = parameters_.components;
      if (std::find(all.begin(), all.end(), site) != all.end())
        problems.add(item, fmt::format("names '{}' twice", *name));
      all.push_back(site);
    }
    if (node->kind == ConfigNode::Kind::list && node->items.empty())
      problems.add(*node, "names no component");
  }

  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_component_ablation(MapReader& reader) {
  return std::make_unique<ComponentAblation>(reader);
}

}  // namespace mechsweep
