#include "experiments/neuron_selection.h"

#include <fmt/format.h>

#include "core/error.h"
#include "experiments/part_names.h"

namespace mechsweep {

namespace {

std::vector<NeuronName> parse_neuron_list(const ConfigNode& node, Problems& problems) {
  return parse_part_list<NeuronName>(
      node, 'N', "must be a list of neurons' names such as [L3N17, L5N0]",
      "must be a neuron's name: L, the layer, N, the neuron, such as L3N17", problems);
}

void parse_sets(const ConfigNode& node, NeuronSelection& selection, Problems& problems) {
  MapReader map(node, problems);
  const ConfigNode* sets = map.require("sets");
  if (sets != nullptr && (sets->kind != ConfigNode::Kind::map || sets->entries.empty())) {
    problems.add(*sets, "must name at least one set: {NAME: [L3N17, ...]}");
  } else if (sets != nullptr) {
    for (const auto& entry : sets->entries)
      selection.sets.emplace_back(entry.key, parse_neuron_list(entry.value, problems));
  }
  map.finish();
}

}  // namespace

std::string NeuronName::text() const {
  return fmt::format("L{}N{}", layer, neuron);
}

Json NeuronSelection::to_json() const {
  const auto names = [](const std::vector<NeuronName>& neurons) {
    Json out = Json::array();
    for (const NeuronName& neuron : neurons) out.push_back(neuron.text());
    return out;
  };
  if (kind == Kind::list) return names(list);
  Json out = Json::array();
  for (const auto& [name, members] : sets)
    out.push_back({{"set", name}, {"neurons", names(members)}});
  return out;
}

void NeuronSelection::check(const ModelConfig& model) const {
  const auto check_one = [&](const NeuronName& neuron) {
    if (neuron.layer >= model.n_layers || neuron.neuron >= model.d_mlp)
      fail(ErrorKind::usage,
           "`neurons` names {}, but the model has layers 0..{} with neurons 0..{}", neuron.text(),
           model.n_layers - 1, model.d_mlp - 1);
  };
  for (const NeuronName& neuron : list) check_one(neuron);
  for (const auto& [name, members] : sets)
    for (const NeuronName& neuron : members) check_one(neuron);
}

std::optional<NeuronSelection> parse_neurons(MapReader& reader) {
  const ConfigNode* node = reader.get("neurons");
  if (node == nullptr) return std::nullopt;
  NeuronSelection selection;
  if (node->kind == ConfigNode::Kind::list) {
    selection.kind = NeuronSelection::Kind::list;
    selection.list = parse_neuron_list(*node, reader.problems());
  } else if (node->kind == ConfigNode::Kind::map) {
    selection.kind = NeuronSelection::Kind::sets;
    parse_sets(*node, selection, reader.problems());
  } else {
    reader.problems().add(*node,
                          "must be a list of neurons' names such as [L3N17, L5N0], or {sets: "
                          "{NAME: [L3N17, ...]}}");
  }
  return selection;
}

}  // namespace mechsweep
