#include "experiments/selection.h"

#include <algorithm>

#include "core/error.h"
#include "experiments/part_names.h"

namespace mechsweep {

namespace {

std::optional<HeadName> parse_head_name(std::string_view text) {
  return parse_part_name<HeadName>(text, 'H');
}

std::vector<HeadName> parse_head_list(const ConfigNode& node, Problems& problems) {
  return parse_part_list<HeadName>(node, 'H', "must be a list of head names such as [L9H5, L10H0]",
                                   "must be a head's name: L, the layer, H, the head, such as L9H5",
                                   problems);
}

/// Adds the layers of `3` or `8..15`; false when the text is neither.
bool add_layers(const std::string& text, std::vector<int64_t>& layers) {
  const size_t dots = text.find("..");
  const auto first = parse_number(std::string_view(text).substr(0, dots));
  const auto last =
      dots == std::string::npos ? first : parse_number(std::string_view(text).substr(dots + 2));
  // The bound keeps a typing error from filling memory; no model is that deep.
  if (!first || !last || *first > *last || *last > 100'000) return false;
  for (int64_t layer = *first; layer <= *last; ++layer) layers.push_back(layer);
  return true;
}

/// A typing error in `all` or `each` ends up here as well, so the sentence names those too.
[[noreturn]] void fail_span(const Prompt& prompt, const std::string& name) {
  std::string known;
  for (const auto& [span, range] : prompt.spans) known += (known.empty() ? "" : ", ") + span;
  fail(ErrorKind::input,
       "`positions` is '{}', which is neither all, each, targets nor a span of prompt '{}' ({})",
       name, prompt.id, known.empty() ? "it has none" : "it has: " + known);
}

}  // namespace

Json PositionSelection::to_json() const {
  switch (kind) {
    case Kind::all:
      return "all";
    case Kind::each:
      return "each";
    case Kind::targets:
      return "targets";
    case Kind::span:
      return Json{{"span", span_name}};
    case Kind::list:
      return list;
  }
  return nullptr;
}

std::string PositionSelection::describe() const {
  switch (kind) {
    case Kind::all:
      return "all positions";
    case Kind::each:
      return "each position by itself";
    case Kind::targets:
      return "the target positions";
    case Kind::span:
      return fmt::format("the positions of span '{}'", span_name);
    case Kind::list:
      return fmt::format("positions {}", Json(list).dump());
  }
  return "";
}

std::vector<int32_t> PositionSelection::resolve(const Prompt& prompt) const {
  const auto length = static_cast<int64_t>(prompt.tokens.size());
  std::vector<int32_t> positions;
  switch (kind) {
    case Kind::each:
      ensure(false, "`each` is an axis, not one edit");
      break;
    case Kind::all:
      for (int64_t p = 0; p < length; ++p) positions.push_back(static_cast<int32_t>(p));
      break;
    case Kind::targets:
      for (const Target& target : prompt.targets) positions.push_back(target.at);
      break;
    case Kind::span: {
      const auto found = prompt.spans.find(span_name);
      if (found == prompt.spans.end()) fail_span(prompt, span_name);
      for (int32_t p = found->second.begin; p < found->second.end; ++p) positions.push_back(p);
      break;
    }
    case Kind::list:
      for (const int64_t index : list) {
        const int64_t p = index < 0 ? length + index : index;
        if (p < 0 || p >= length)
          fail(ErrorKind::input, "prompt '{}' has {} tokens and no position {}", prompt.id, length,
               index);
        positions.push_back(static_cast<int32_t>(p));
      }
      break;
  }
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

PositionSelection parse_positions(MapReader& reader) {
  PositionSelection selection;
  const ConfigNode* node = reader.require("positions");
  if (node == nullptr) return selection;
  if (node->kind == ConfigNode::Kind::list) {
    selection.kind = PositionSelection::Kind::list;
    for (const ConfigNode& item : node->items)
      if (const auto value = node_integer(item, reader.problems(), INT32_MIN, INT32_MAX))
        selection.list.push_back(*value);
    if (node->items.empty()) reader.problems().add(*node, "the list of positions is empty");
    return selection;
  }
  const auto text = node_text(*node, reader.problems());
  if (!text) return selection;
  if (*text == "all") return selection;
  if (*text == "each") {
    selection.kind = PositionSelection::Kind::each;
  } else if (*text == "targets") {
    selection.kind = PositionSelection::Kind::targets;
  } else if (text->empty()) {
    reader.problems().add(*node, "must be all, each, targets, a span's name, or a list of indices");
  } else if (!node->quoted && text->find_first_not_of("-0123456789") == std::string::npos) {
    reader.problems().add(*node,
                          fmt::format("a single position is written as a list: [{}]", *text));
  } else {
    selection.kind = PositionSelection::Kind::span;
    selection.span_name = *text;
  }
  return selection;
}

Axis position_axis(const PromptSet& prompts) {
  size_t longest = 0;
  for (const Prompt& prompt : prompts.prompts) longest = std::max(longest, prompt.tokens.size());
  return {.name = "position", .size = static_cast<int64_t>(longest)};
}

Json LayerSelection::to_json() const {
  return all ? Json("all") : Json(list);
}

std::vector<int32_t> LayerSelection::resolve(int n_layers) const {
  std::vector<int32_t> layers;
  if (all) {
    for (int32_t layer = 0; layer < n_layers; ++layer) layers.push_back(layer);
    return layers;
  }
  for (const int64_t layer : list) {
    if (layer >= n_layers)
      fail(ErrorKind::usage, "`layers` names layer {}, but the model has layers 0..{}", layer,
           n_layers - 1);
    layers.push_back(static_cast<int32_t>(layer));
  }
  return layers;
}

LayerSelection parse_layers(MapReader& reader) {
  LayerSelection selection;
  const ConfigNode* node = reader.get("layers");
  if (node == nullptr) return selection;
  if (node->kind == ConfigNode::Kind::scalar && node->scalar == "all") return selection;
  selection.all = false;
  const std::vector<ConfigNode> alone = {*node};
  const auto& items = node->kind == ConfigNode::Kind::list ? node->items : alone;
  for (const ConfigNode& item : items)
    if (item.kind != ConfigNode::Kind::scalar || !add_layers(item.scalar, selection.list))
      reader.problems().add(item,
                            "must be all, a layer, a range such as 8..15, or a list of those");
  if (items.empty()) reader.problems().add(*node, "the list of layers is empty");
  // One form for one meaning, since the list is part of the file's key.
  auto& list = selection.list;
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return selection;
}

std::string HeadName::text() const {
  return fmt::format("L{}H{}", layer, head);
}

HeadName head_of_name(const std::string& name) {
  const auto head = parse_head_name(name);
  ensure(head.has_value(), "a head's name was made by ourselves");
  return *head;
}

Json HeadSelection::to_json() const {
  const auto names = [](const std::vector<HeadName>& heads) {
    Json out = Json::array();
    for (const HeadName& head : heads) out.push_back(head.text());
    return out;
  };
  if (kind == Kind::all) return "all";
  if (kind == Kind::list) return names(list);
  Json out = Json::array();  // a list keeps the order of the sets, which is their axis's
  for (const auto& [name, heads] : sets) out.push_back({{"set", name}, {"heads", names(heads)}});
  return out;
}

void HeadSelection::check(Site site, const ModelConfig& model) const {
  const int n_heads = site_head_count(site, model);
  const char* of_kind = site_info(site).heads == SiteHeads::key_value ? "key/value " : "";
  const auto check_one = [&](const HeadName& head) {
    if (head.layer >= model.n_layers || head.head >= n_heads)
      fail(ErrorKind::usage, "`heads` names {}, but the model has layers 0..{} with {}heads 0..{}",
           head.text(), model.n_layers - 1, of_kind, n_heads - 1);
  };
  for (const HeadName& head : list) check_one(head);
  for (const auto& [name, heads] : sets) {
    for (const HeadName& head : heads) check_one(head);
    if (all_but && std::ssize(heads) == int64_t{model.n_layers} * n_heads)
      fail(ErrorKind::usage,
           "`heads` has `all_but`, and set '{}' has every head of the model, so that none is left "
           "to edit; name fewer",
           name);
  }
}

HeadSelection parse_heads(MapReader& reader) {
  HeadSelection selection;
  Problems& problems = reader.problems();
  const ConfigNode* node = reader.get("heads");
  if (node == nullptr) return selection;
  if (node->kind == ConfigNode::Kind::scalar && node->scalar == "all") return selection;
  if (node->kind == ConfigNode::Kind::list) {
    selection.kind = HeadSelection::Kind::list;
    selection.list = parse_head_list(*node, problems);
    return selection;
  }
  if (node->kind != ConfigNode::Kind::map) {
    problems.add(*node, "must be all, a list of head names, or {sets: {NAME: [L9H5, ...]}}");
    return selection;
  }
  if (node->find("top") != nullptr) {
    problems.add(*node->find("top"), "goes with `kind: head_ablation` only");
    return selection;
  }
  selection.kind = HeadSelection::Kind::sets;
  MapReader map(*node, problems);
  const ConfigNode* sets = map.require("sets");
  if (sets != nullptr && (sets->kind != ConfigNode::Kind::map || sets->entries.empty())) {
    problems.add(*sets, "must name at least one set: {NAME: [L9H5, ...]}");
  } else if (sets != nullptr) {
    for (const auto& entry : sets->entries)
      selection.sets.emplace_back(entry.key, parse_head_list(entry.value, problems));
  }
  selection.all_but = map.bool_or("all_but", false);
  map.finish();
  return selection;
}

Downstream parse_downstream(MapReader& reader) {
  return reader.choice_or("downstream", "recompute", {"recompute", "freeze"}) == "freeze"
             ? Downstream::freeze
             : Downstream::recompute;
}

std::string describe_downstream(Downstream downstream) {
  return downstream == Downstream::freeze ? "everything else frozen (direct effects)"
                                          : "downstream recomputed";
}

}  // namespace mechsweep
