#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>

#include "app/commands.h"
#include "app/guarded_reading.h"
#include "app/inspect_model.h"
#include "core/text_file.h"
#include "experiments/top_heads.h"
#include "prompts/prompt_line.h"
#include "store/results_file.h"

namespace mechsweep {

namespace {

/// Text that may hold any bytes is printed as JSON does, bad ones replaced.
std::string json_text(const Json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The heads that a decision of the run chose, the best first; empty when there is none.
std::string chosen_text(const ResultsReader& reader, const std::string& group) {
  const std::string folder = group + "/selection/";
  const auto& datasets = reader.layout().datasets;
  if (std::none_of(datasets.begin(), datasets.end(),
                   [&](const DatasetSpec& spec) { return spec.path.starts_with(folder); }))
    return "";
  StoredRun run{.id = group};
  for (const char* name : {"layer", "head", "score"}) {
    run.arrays.push_back(reader.read_array(folder + name));
    run.arrays.back().name = std::string("selection/") + name;
  }
  std::string text;
  for (const ChosenHead& chosen : stored_selection(run))
    text +=
        fmt::format("{}{} ({:.6g})", text.empty() ? "" : ", ", chosen.head.text(), chosen.score);
  return text.empty() ? "nothing yet" : text;
}

void inspect_results(const std::string& path) {
  const ResultsReader reader(path);
  const FileLayout& layout = reader.layout();
  print_line("path", path);
  for (const auto& [name, value] : layout.attributes.items())
    if (name != "config" && name != "identity") print_line(name, json_text(value));
  print_line("units", std::to_string(layout.units.size()));
  for (const GroupSpec& group : layout.groups) {
    if (!group.attributes.contains("run_index")) continue;
    std::printf("\nrun %s\n", group.path.substr(std::string("/runs/").size()).c_str());
    for (const char* name : {"kind", "estimand", "definition_head", "prefix", "warnings"})
      if (group.attributes.contains(name))
        print_line(std::string("  ") + name, json_text(group.attributes.at(name)));
    const std::string chosen = chosen_text(reader, group.path);
    if (!chosen.empty()) print_line("  chosen", chosen);
    for (const DatasetSpec& dataset : layout.datasets) {
      if (!dataset.path.starts_with(group.path + "/") || dataset.scales.empty()) continue;
      std::string shape;
      for (size_t i = 0; i < dataset.shape.size(); ++i)
        shape += fmt::format("{}{} {}", i > 0 ? ", " : "",
                             dataset.scales[i].substr(dataset.scales[i].rfind('/') + 1),
                             dataset.shape[i]);
      print_line("  " + dataset.path.substr(group.path.size() + 1), "[" + shape + "]");
    }
  }
  const auto attempts = reader.attempts();
  std::printf("\n");
  for (size_t i = 0; i < attempts.size(); ++i)
    print_line(fmt::format("attempt {}", i + 1), json_text(attempts[i].facts));
}

/// Counts what the lines hold; ids and texts are not checked against a model.
void inspect_prompt_file(const std::string& path) {
  const std::string text = read_text_file(path, ErrorKind::input);
  std::istringstream lines{std::string(without_byte_order_mark(text))};
  std::map<std::string, int64_t> fields;
  int64_t prompts = 0, number = 0;
  size_t shortest = SIZE_MAX, longest = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json json;
    try {
      json = parse_prompt_json(line);
    } catch (const Error& error) {
      throw error.within(fmt::format("{}:{}", path, number));
    }
    ++prompts;
    for (const auto& [name, value] : json.items()) ++fields[name];
    if (!json.contains("tokens") || !json["tokens"].is_array()) continue;
    shortest = std::min(shortest, json["tokens"].size());
    longest = std::max(longest, json["tokens"].size());
  }
  print_line("path", path);
  print_line("prompts", std::to_string(prompts));
  if (longest > 0) print_line("lengths", fmt::format("{}..{} tokens", shortest, longest));
  for (const auto& [name, count] : fields)
    print_line("field " + name, fmt::format("in {} prompts", count));
}

}  // namespace

int inspect_command(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) fail(ErrorKind::input, "{}: does not exist", path);
  if (path.ends_with(".h5")) {
    return reading_results(path, [&] {
      inspect_results(path);
      return kExitDone;
    });
  } else if (path.ends_with(".jsonl")) {
    inspect_prompt_file(path);
  } else {
    inspect_model(path);
  }
  return kExitDone;
}

}  // namespace mechsweep
