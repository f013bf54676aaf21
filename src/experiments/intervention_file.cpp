#include "experiments/intervention_file.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include <fmt/ranges.h>

#include "core/hash.h"
#include "core/text_file.h"
#include "experiments/listed_edit_reader.h"
#include "prompts/prompt_line.h"

namespace mechsweep {

namespace {

constexpr size_t kLongestId = 100;
constexpr size_t kLongestShownKey = 100;
/// The deepest sound line has a list of pairs in an edit in a list of edits.
constexpr int kDeepest = 8;

/// A JSON value as a config node, so that it is read as strictly as a config.
ConfigNode node_of(const Json& json, const SourcePosition& position, const std::string& path,
                   int depth, Problems& problems) {
  ConfigNode node;
  node.position = position;
  node.path = path;
  if (depth > kDeepest) {
    problems.add(node, "is nested too deeply");
  } else if (json.is_object()) {
    node.kind = ConfigNode::Kind::map;
    for (const auto& [key, value] : json.items()) {
      const std::string shown = fit_for_message(key, kLongestShownKey);
      const std::string below = path.empty() ? shown : fmt::format("{}.{}", path, shown);
      node.entries.push_back({key, position, node_of(value, position, below, depth + 1, problems)});
    }
  } else if (json.is_array()) {
    node.kind = ConfigNode::Kind::list;
    for (const Json& item : json)
      node.items.push_back(node_of(item, position, fmt::format("{}[{}]", path, node.items.size()),
                                   depth + 1, problems));
  } else if (!json.is_null()) {
    node.kind = ConfigNode::Kind::scalar;
    node.quoted = json.is_string();
    node.scalar = json.is_string() ? json.get<std::string>() : json.dump();
  }
  return node;
}

bool is_id(const std::string& text) {
  return !text.empty() && text.size() <= kLongestId &&
         std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; });
}

/// Empty when the line's is not one.
std::string read_id(MapReader& reader, int line) {
  const ConfigNode* node = reader.get("id");
  if (node == nullptr) return fmt::to_string(line);
  std::string id = node_text(*node, reader.problems()).value_or("");
  if (node->quoted && is_id(id)) return id;
  reader.problems().add(
      *node,
      fmt::format("must be a text of at most {} bytes without control characters", kLongestId));
  return "";
}

ListedIntervention read_line(const ConfigNode& node, int line, VectorFiles& vectors,
                             Problems& problems) {
  ListedIntervention listed{.line = line};
  MapReader reader(node, problems);
  listed.id = read_id(reader, line);
  listed.downstream = parse_downstream(reader);
  const ConfigNode* edits = reader.require("edits");
  if (edits != nullptr && (edits->kind != ConfigNode::Kind::list || edits->items.empty())) {
    problems.add(*edits, "must be a list of at least one edit");
  } else if (edits != nullptr) {
    for (const ConfigNode& edit : edits->items)
      listed.edits.push_back(read_listed_edit(edit, vectors, problems));
  }
  reader.finish();
  return listed;
}

std::string vector_hash(const std::vector<float>& values) {
  Sha256 hash;
  hash.update(bytes_of(std::span<const float>(values)));
  return hash.hex_digest();
}

}  // namespace

Json ListedDonor::to_json() const {
  if (own()) return side_name(side);
  return {{"prompt", prompt_id ? Json(*prompt_id) : Json(*prompt_index)},
          {"side", side_name(side)}};
}

Json ListedEdit::to_json() const {
  Json json = {{"site", site_info(site).name},
               {"layer", layer},
               {"operation", resample ? "resample" : operation_name(operation)}};
  if (site_info(site).heads != SiteHeads::none || on_edges)
    json["heads"] = all_heads ? Json("all") : Json(heads);
  if (!on_edges) json["positions"] = positions.to_json();
  if (on_edges) json["edges"] = pairs.empty() ? Json(edges) : Json(pairs);
  if (donor) json["donor"] = donor->to_json();
  if (vector) json["vector"] = {{"size", vector->size()}, {"sha256", vector_hash(*vector)}};
  if (operation == Operation::add) json["scale"] = scale;
  if (operation == Operation::mean) json["per"] = mean_over_name(mean_over);
  if (resample) json["draw"] = draw;
  return json;
}

Json ListedIntervention::to_json() const {
  Json list = Json::array();
  for (const ListedEdit& edit : edits) list.push_back(edit.to_json());
  return {{"id", id}, {"downstream", downstream_name(downstream)}, {"edits", list}};
}

void throw_problems_of_file(const Problems& problems) {
  if (problems.empty()) return;
  std::vector<std::string> lines = problems.lines();
  if (lines.size() > kMostProblems) {
    const size_t more = lines.size() - kMostProblems;
    lines.resize(kMostProblems);
    lines.push_back(fmt::format("... and {} more", more));
  }
  throw Error(ErrorKind::input, fmt::format("{}", fmt::join(lines, "\n")));
}

std::vector<ListedIntervention> read_intervention_file(const std::string& path) {
  const std::string content = read_text_file(path, ErrorKind::input);
  VectorFiles vectors(std::filesystem::path(path).parent_path().string());
  Problems problems;
  std::vector<ListedIntervention> all;
  std::map<std::string, int> line_of_id;
  for (const auto& [number, line] : filled_lines(content)) {
    const SourcePosition position{path, number, 0};
    try {
      const ConfigNode node = node_of(parse_prompt_json(line), position, "", 0, problems);
      all.push_back(read_line(node, number, vectors, problems));
      const std::string& id = all.back().id;
      const auto [earlier, is_new] = line_of_id.emplace(id, number);
      if (!is_new && !id.empty())
        problems.add(position, "id",
                     fmt::format("'{}' is the id of line {} already", id, earlier->second));
    } catch (const Error& error) {
      problems.add(position, "", error.what());
    }
  }
  throw_problems_of_file(problems);
  if (all.empty()) fail(ErrorKind::input, "{}: lists no intervention", path);
  return all;
}

}  // namespace mechsweep
