#include "experiments/component_grid.h"

#include <map>
#include <memory>
#include <set>

namespace mechsweep {

namespace {

Axis layer_axis(const std::vector<int32_t>& layers) {
  return {.name = "layer", .size = std::ssize(layers), .coordinates = layers};
}

}  // namespace

ComponentGrid::ComponentGrid(const std::vector<Site>& components,
                             const std::optional<NeuronSelection>& neurons,
                             const LayerSelection& layers, PositionSelection positions,
                             const ModelConfig& model, const PromptSet& prompts)
    : positions_(std::move(positions)) {
  const std::vector<int32_t> numbers = layers.resolve(model.n_layers);
  if (neurons) {
    add_neurons(*neurons, model);
  } else {
    Axis axis{.name = "component", .size = std::ssize(components)};
    for (const Site site : components) {
      check_site(site, model);
      axis.labels.emplace_back(site_info(site).name);
    }
    axes_ = {layer_axis(numbers), std::move(axis)};
    for (const int32_t layer : numbers)
      for (const Site site : components) joint_.push_back({{.site = site, .layer = layer}});
  }
  own_axes_ = axes_.size();
  if (positions_.kind == PositionSelection::Kind::each) {
    axes_.push_back(position_axis(prompts));
  } else {
    for (const Prompt& prompt : prompts.prompts) (void)positions_.resolve(prompt);
  }
}

void ComponentGrid::add_neurons(const NeuronSelection& neurons, const ModelConfig& model) {
  neurons.check(model);
  // Equal directions are one object, so that equal edits are seen to be equal.
  std::map<int32_t, std::shared_ptr<const std::vector<float>>> directions;
  const auto edit = [&](const NeuronName& one) {
    auto& direction = directions[one.neuron];
    if (direction == nullptr) {
      std::vector<float> values(model.d_mlp, 0.0F);
      values[one.neuron] = 1.0F;
      direction = std::make_shared<const std::vector<float>>(std::move(values));
    }
    return Edit{.site = Site::mlp_hidden, .layer = one.layer, .vector = direction};
  };
  const bool sets = neurons.kind == NeuronSelection::Kind::sets;
  Axis axis{.name = sets ? "set" : "named_neuron"};
  for (const NeuronName& one : neurons.list) {
    axis.labels.push_back(one.text());
    joint_.push_back({edit(one)});
  }
  for (const auto& [name, members] : neurons.sets) {
    axis.labels.push_back(name);
    Joint& joint = joint_.emplace_back();
    for (const NeuronName& one : std::set<NeuronName>(members.begin(), members.end()))
      joint.push_back(edit(one));
  }
  axis.size = std::ssize(axis.labels);
  axes_ = {std::move(axis)};
}

std::vector<std::pair<Site, int>> ComponentGrid::sites() const {
  std::set<std::pair<Site, int>> found;
  for (const Joint& joint : joint_)
    for (const Edit& edit : joint) found.emplace(edit.site, edit.layer);
  return {found.begin(), found.end()};
}

std::vector<int32_t> ComponentGrid::positions(const Prompt& prompt) const {
  const PositionSelection all;
  return (positions_.kind == PositionSelection::Kind::each ? all : positions_).resolve(prompt);
}

std::optional<std::vector<Edit>> ComponentGrid::edits(const Prompt& prompt,
                                                      std::span<const int64_t> place) const {
  std::vector<int32_t> where;
  if (positions_.kind == PositionSelection::Kind::each) {
    const auto position = static_cast<int32_t>(place[own_axes_]);
    if (position >= static_cast<int32_t>(prompt.tokens.size())) return std::nullopt;
    where = {position};
  } else {
    where = positions_.resolve(prompt);
  }
  int64_t index = 0;
  for (size_t axis = 0; axis < own_axes_; ++axis) index = index * axes_[axis].size + place[axis];
  std::vector<Edit> edits = joint_[index];
  for (Edit& edit : edits) edit.positions = where;
  return edits;
}

}  // namespace mechsweep
