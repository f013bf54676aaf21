#include "experiments/interventions.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "core/hash.h"
#include "core/text_file.h"
#include "experiments/bound_interventions.h"
#include "experiments/effect_run.h"
#include "experiments/intervention_file.h"

namespace mechsweep {

namespace {

/// A longer list stands in the file's attributes by its hash alone.
constexpr size_t kLongestParameters = 16'384;

struct Parameters {
  std::string file;
  Side base = Side::clean;
  Readouts readouts;
};

/// The prompts' other run, where any edit takes values from it.
std::optional<Side> donor_of(const std::vector<ListedIntervention>& listed, Side base) {
  for (const ListedIntervention& line : listed)
    for (const ListedEdit& edit : line.edits)
      if (edit.donor && edit.donor->own() && edit.donor->side != base) return edit.donor->side;
  return std::nullopt;
}

Axis intervention_axis(const std::vector<ListedIntervention>& listed) {
  Axis axis{.name = "intervention", .size = std::ssize(listed)};
  for (const ListedIntervention& line : listed) axis.labels.push_back(line.id);
  return axis;
}

/// Every different value, in order of appearance, joined.
template <typename Value>
std::string joined(const std::vector<ListedIntervention>& listed, Value value) {
  std::vector<std::string> seen;
  for (const ListedIntervention& line : listed)
    for (const ListedEdit& edit : line.edits) {
      const std::string text(value(line, edit));
      if (std::find(seen.begin(), seen.end(), text) == seen.end()) seen.push_back(text);
    }
  return fmt::format("{}", fmt::join(seen, ", "));
}

class InterventionsRun final : public EffectRun {
 public:
  InterventionsRun(const RunContext& context, const Parameters& parameters, const std::string& path,
                   const std::vector<ListedIntervention>& listed)
      : EffectRun(context, {.base = parameters.base,
                            .donor = donor_of(listed, parameters.base),
                            .grid = {intervention_axis(listed)},
                            .readouts = parameters.readouts}),
        base_(parameters.base),
        bound_(context, parameters.base, path, listed) {}

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    const auto& listed = bound_.listed();
    using Line = const ListedIntervention&;
    using Entry = const ListedEdit&;
    attributes["site"] = joined(listed, [](Line, Entry edit) { return site_info(edit.site).name; });
    attributes["operation"] = joined(listed, [](Line, Entry edit) {
      return edit.resample ? "resample" : operation_name(edit.operation);
    });
    attributes["positions"] = joined(listed, [](Line, Entry edit) {
      return edit.on_edges ? "attention edges" : edit.positions.describe();
    });
    attributes["downstream"] =
        joined(listed, [](Line line, Entry) { return downstream_name(line.downstream); });
    attributes["estimand"] =
        fmt::format("{} interventions as listed in a file ({}), each on the {} run by itself",
                    listed.size(), attributes["operation"].get<std::string>(), side_name(base_));
    // Edges always name query heads.
    for (const ListedIntervention& line : listed)
      for (const ListedEdit& edit : line.edits) {
        const std::string shared =
            edit.on_edges ? "" : shared_heads_text(edit.site, *context().model);
        if (!shared.empty()) attributes["definition_head"] = "in edits of k and v, " + shared;
      }
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* executor) const override {
    return bound_.on_prompt(prompt, place.front(), executor);
  }

 private:
  Side base_;
  BoundInterventions bound_;
};

class Interventions final : public Experiment {
 public:
  explicit Interventions(MapReader& reader) {
    parameters_.file = reader.text("file");
    if (const ConfigNode* node = reader.get("file"); node != nullptr && parameters_.file.empty())
      reader.problems().add(*node, "must be the path of a JSON Lines file of interventions");
    parameters_.base = reader.choice_or("base", "clean", {"clean", "corrupt"}) == "corrupt"
                           ? Side::corrupt
                           : Side::clean;
    parameters_.readouts = parse_readouts(reader);
  }

  [[nodiscard]] Json parameters(const std::string& config_folder) const override {
    const auto listed = read_intervention_file(resolve_path(config_folder, parameters_.file));
    Json lines = Json::array();
    for (const ListedIntervention& line : listed) lines.push_back(line.to_json());
    const std::string text = lines.dump();
    Json json = {{"base", side_name(parameters_.base)},
                 {"count", listed.size()},
                 {"sha256", sha256_hex(text)}};
    if (text.size() <= kLongestParameters) json["interventions"] = std::move(lines);
    json.update(parameters_.readouts.to_json());
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    const std::string path = resolve_path(context.config_folder, parameters_.file);
    return std::make_unique<InterventionsRun>(context, parameters_, path,
                                              read_intervention_file(path));
  }

 private:
  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_interventions(MapReader& reader) {
  return std::make_unique<Interventions>(reader);
}

}  // namespace mechsweep
