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
      : EffectRun(context, parameters.base(), parameters.donor(), grid.axes()),
        parameters_(parameters),
        grid_(std::move(grid)) {}

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    attributes["site"] = site_info(parameters_.site).name;
    attributes["operation"] = "replace";
    attributes["direction"] = parameters_.direction;
    attributes["positions"] = parameters_.positions.describe();
    attributes["estimand"] =
        fmt::format("{} of the {} run pasted into the {} run at {}, downstream recomputed",
                    site_info(parameters_.site).name, side_name(parameters_.donor()),
                    side_name(parameters_.base()), parameters_.positions.describe());
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<std::vector<Edit>> edits(
      const Prompt& prompt, std::span<const int64_t> place) const override {
    return grid_.edits(
        prompt, place,
        {.site = parameters_.site, .operation = Operation::replace, .donor = parameters_.donor()});
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
    const auto site = node != nullptr ? node_choice(*node, reader.problems(), names) : std::nullopt;
    for (const SiteInfo& info : site_table())
      if (info.name == site) parameters_.site = info.site;
    parameters_.direction = reader.choice("direction", {kCleanToCorrupt, kCorruptToClean});
    parameters_.positions = parse_positions(reader);
    parameters_.layers = parse_layers(reader);
    parameters_.heads = parse_heads(reader);
    check_heads_and_layers(parameters_.heads, parameters_.layers, reader);
    if (site && reader.has("heads") && !site_info(parameters_.site).per_head)
      reader.problems().add(*reader.get("heads"),
                            fmt::format("site '{}' has no heads; leave `heads` out, or use site z",
                                        site_info(parameters_.site).name));
  }

  [[nodiscard]] Json parameters() const override {
    Json json = {{"site", site_info(parameters_.site).name},
                 {"direction", parameters_.direction},
                 {"positions", parameters_.positions.to_json()},
                 {"layers", parameters_.layers.to_json()}};
    if (site_info(parameters_.site).per_head) json["heads"] = parameters_.heads.to_json();
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    HeadGrid heads(parameters_.heads, parameters_.layers, site_info(parameters_.site).per_head,
                   *context.model);
    return std::make_unique<ActivationPatchingRun>(
        context, parameters_, EditGrid(std::move(heads), parameters_.positions, *context.prompts));
  }

 private:
  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_activation_patching(MapReader& reader) {
  return std::make_unique<ActivationPatching>(reader);
}

}  // namespace mechsweep
