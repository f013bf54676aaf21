#include <algorithm>

#include "core/error.h"
#include "experiments/head_controls.h"

namespace mechsweep {

namespace {

constexpr int64_t kMostDraws = 100'000;
const std::vector<std::string> kMatches = {"uniform", "layer"};
const std::vector<std::string> kAlternatives = {"two_sided", "greater", "less"};

void read_matches(MapReader& map, ControlsConfig& controls) {
  const ConfigNode* node = map.require("match");
  if (node == nullptr) return;
  const std::vector<ConfigNode> alone = {*node};
  for (const ConfigNode& item : node->kind == ConfigNode::Kind::list ? node->items : alone) {
    const auto name = node_choice(item, map.problems(), kMatches);
    if (!name) continue;
    const DrawMatch match = *name == "layer" ? DrawMatch::layer : DrawMatch::uniform;
    if (std::find(controls.match.begin(), controls.match.end(), match) != controls.match.end())
      map.problems().add(item, fmt::format("names '{}' twice", *name));
    controls.match.push_back(match);
  }
  if (node->kind == ConfigNode::Kind::list && node->items.empty())
    map.problems().add(*node, "names no way to draw");
}

}  // namespace

std::string_view draw_match_name(DrawMatch match) {
  return kMatches[match == DrawMatch::layer ? 1 : 0];
}

std::string_view alternative_name(Alternative alternative) {
  return kAlternatives[static_cast<size_t>(alternative)];
}

Alternative alternative_of(const std::string& name) {
  const auto found = std::find(kAlternatives.begin(), kAlternatives.end(), name);
  if (found == kAlternatives.end())
    fail(ErrorKind::input, "'{}' is no alternative of a test: the file is damaged", name);
  return static_cast<Alternative>(found - kAlternatives.begin());
}

Json ControlsConfig::to_json() const {
  Json matches = Json::array();
  for (const DrawMatch one : match) matches.push_back(draw_match_name(one));
  return {{"random_k", random_k},
          {"match", std::move(matches)},
          {"chosen", chosen == ChosenHeads::allowed ? "allowed" : "excluded"},
          {"alternative", alternative_name(alternative)}};
}

std::optional<ControlsConfig> parse_controls(MapReader& reader, Alternative fallback) {
  const ConfigNode* node = reader.get("controls");
  if (node == nullptr) return std::nullopt;
  ControlsConfig controls;
  MapReader map(*node, reader.problems());
  controls.random_k = map.integer("random_k", 1, kMostDraws);
  read_matches(map, controls);
  if (map.choice_or("chosen", "allowed", {"allowed", "excluded"}) == "excluded")
    controls.chosen = ChosenHeads::excluded;
  controls.alternative = alternative_of(
      map.choice_or("alternative", std::string(alternative_name(fallback)), kAlternatives));
  map.finish();
  return controls;
}

}  // namespace mechsweep
