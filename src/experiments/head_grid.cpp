#include "experiments/head_grid.h"

#include <algorithm>
#include <map>
#include <set>

namespace mechsweep {

namespace {

/// Every head of the model that is none of these.
std::vector<HeadName> others(const std::vector<HeadName>& heads, int layers, int in_layer) {
  const std::set<HeadName> left_alone(heads.begin(), heads.end());
  std::vector<HeadName> rest;
  for (int32_t layer = 0; layer < layers; ++layer)
    for (int32_t head = 0; head < in_layer; ++head)
      if (!left_alone.contains({layer, head})) rest.push_back({layer, head});
  return rest;
}

}  // namespace

HeadGrid::HeadGrid(const HeadSelection& heads, const LayerSelection& layers, Site site,
                   const ModelConfig& model) {
  check_site(site, model);
  const bool per_head = site_info(site).heads != SiteHeads::none;
  if (!per_head || heads.kind == HeadSelection::Kind::all) {
    const auto numbers = layers.resolve(model.n_layers);
    axes_.push_back(
        {.name = "layer", .size = static_cast<int64_t>(numbers.size()), .coordinates = numbers});
    for (const int32_t layer : numbers) first_.push_back({{layer, {}}});
    head_axis_ = per_head;
    if (per_head) axes_.push_back({.name = "head", .size = site_head_count(site, model)});
    return;
  }
  heads.check(site, model);
  Axis axis;
  if (heads.kind == HeadSelection::Kind::list) {
    axis.name = "named_head";
    for (const HeadName& head : heads.list) {
      axis.labels.push_back(head.text());
      first_.push_back({{head.layer, {head.head}}});
    }
  } else {
    axis.name = "set";
    const int in_layer = site_head_count(site, model);
    for (const auto& [name, members] : heads.sets) {
      axis.labels.push_back(name);
      std::map<int, std::vector<int32_t>> by_layer;
      for (const HeadName& head :
           heads.all_but ? others(members, model.n_layers, in_layer) : members)
        by_layer[head.layer].push_back(head.head);
      std::vector<LayerHeads> joint;
      for (auto& [layer, list] : by_layer) {
        std::sort(list.begin(), list.end());
        joint.push_back({layer, list});
      }
      first_.push_back(std::move(joint));
    }
  }
  axis.size = static_cast<int64_t>(axis.labels.size());
  axes_.push_back(std::move(axis));
}

std::vector<int> HeadGrid::layers() const {
  std::set<int> layers;
  for (const auto& joint : first_)
    for (const LayerHeads& one : joint) layers.insert(one.layer);
  return {layers.begin(), layers.end()};
}

std::vector<HeadGrid::LayerHeads> HeadGrid::at(std::span<const int64_t> place) const {
  std::vector<LayerHeads> joint = first_[place[0]];
  if (head_axis_) joint.front().heads = {static_cast<int32_t>(place[1])};
  return joint;
}

void check_heads_and_layers(const HeadSelection& heads, const LayerSelection& layers,
                            MapReader& reader) {
  if (heads.kind != HeadSelection::Kind::all && !layers.all)
    reader.problems().add(*reader.get("layers"),
                          "goes with `heads: all` only: named heads carry their layers");
}

}  // namespace mechsweep
