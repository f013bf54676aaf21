#include "experiments/activation_patching.h"

#include "experiments/edit_grid.h"
#include "experiments/effect_run.h"
#include "experiments/selection.h"

namespace mechsweep {

namespace {

constexpr const char* kCleanToCorrupt = "clean_to_corrupt";
constexpr const char* kCorruptToClean = "corrupt_to_clean";

struct Parameters {
  Site site = Site::resid_pre;
  std::string direction;
  PositionSelection positions;
  LayerSelection layers;
  HeadSelection heads;
  Downstream downstream = Downstream::recompute;
  Readouts readouts;

  [[nodiscard]] bool has_heads() const { return site_info(site).heads != SiteHeads::none; }
  [[nodiscard]] Side base() const {
    return direction == kCleanToCorrupt ? Side::corrupt : Side::clean;
  }
  [[nodiscard]] Side donor() const {
    return direction == kCleanToCorrupt ? Side::clean : Side::corrupt;
  }
};

class ActivationPatchingRun final : public EffectRun {
 public:
  ActivationPatchingRun(const RunContext& context, const Parameters& parameters, EditGrid grid)
      : EffectRun(context, {.base = parameters.base(),
                            .donor = parameters.donor(),
                            .grid = grid.axes(),
                            .readouts = parameters.readouts}),
        parameters_(parameters),
        grid_(std::move(grid)) {}

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    attributes["site"] = site_info(parameters_.site).name;
    attributes["operation"] = "replace";
    attributes["direction"] = parameters_.direction;
    attributes["positions"] = parameters_.positions.describe();
    attributes["downstream"] = downstream_name(parameters_.downstream);
    attributes["estimand"] = fmt::format(
        "{} of the {} run pasted into the {} run at {}, {}", site_info(parameters_.site).name,
        side_name(parameters_.donor()), side_name(parameters_.base()),
        parameters_.positions.describe(), describe_downstream(parameters_.downstream));
    const std::string shared = shared_heads_text(parameters_.site, *context().model);
    if (!shared.empty()) attributes["definition_head"] = shared;
    attributes["definition_replace"] = "x := the donor run's, at the same position";
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* /*executor*/) const override {
    auto edits = grid_.edits(prompts()[prompt], place,
                             {.site = parameters_.site,
                              .operation = Operation::replace,
                              .donor = {.side = parameters_.donor()}});
    if (!edits) return std::nullopt;
    return Intervention{parameters_.base(), std::move(*edits), parameters_.downstream};
  }

 private:
  Parameters parameters_;
  EditGrid grid_;
};

class ActivationPatching final : public Experiment {
 public:
  explicit ActivationPatching(MapReader& reader) {
    std::vector<std::string> names;
    for (const SiteInfo& info : site_table()) names.emplace_back(info.name);
    const ConfigNode* node = reader.require("site");
    const auto name = node != nullptr ? node_choice(*node, reader.problems(), names) : std::nullopt;
    if (name) parameters_.site = *find_site(*name);
    check_operation(reader);
    parameters_.direction = reader.choice("direction", {kCleanToCorrupt, kCorruptToClean});
    parameters_.positions = parse_positions(reader);
    parameters_.layers = parse_layers(reader);
    parameters_.heads = parse_heads(reader);
    parameters_.downstream = parse_downstream(reader);
    parameters_.readouts = parse_readouts(reader);
    check_heads_and_layers(parameters_.heads, parameters_.layers, reader);
    if (name && reader.has("heads") && !parameters_.has_heads())
      reader.problems().add(
          *reader.get("heads"),
          fmt::format("site '{}' has no heads; leave `heads` out, or use site z", *name));
  }

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    Json json = {{"site", site_info(parameters_.site).name},
                 {"operation", "replace"},
                 {"direction", parameters_.direction},
                 {"positions", parameters_.positions.to_json()},
                 {"layers", parameters_.layers.to_json()},
                 {"downstream", downstream_name(parameters_.downstream)}};
    if (parameters_.has_heads()) json["heads"] = parameters_.heads.to_json();
    json.update(parameters_.readouts.to_json());
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    HeadGrid heads(parameters_.heads, parameters_.layers, parameters_.site, *context.model);
    return std::make_unique<ActivationPatchingRun>(
        context, parameters_, EditGrid(std::move(heads), parameters_.positions, *context.prompts));
  }

 private:
  static void check_operation(MapReader& reader) {
    const ConfigNode* node = reader.get("operation");
    if (node == nullptr || (node->kind == ConfigNode::Kind::scalar && node->scalar == "replace"))
      return;
    reader.problems().add(*node,
                          "patching only replaces; list other operations in a file and use `kind: "
                          "interventions`");
  }

  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_activation_patching(MapReader& reader) {
  return std::make_unique<ActivationPatching>(reader);
}

}  // namespace mechsweep
