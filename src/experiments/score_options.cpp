#include "experiments/score_options.h"

#include <algorithm>

#include <fmt/format.h>

#include "experiments/profile_null.h"
#include "experiments/summary.h"

namespace mechsweep {

namespace {

constexpr int64_t kMostDraws = 1'000'000;
constexpr int64_t kLongestLag = 1'000'000;
const std::vector<std::string> kOccurrences = {"latest", "first", "all"};
const std::vector<std::string> kPositionScores = {"none", "layers", "heads"};
const std::vector<std::string> kTopChoices = {"half_a", "each_resample"};

/// Names that datasets, axes and metrics have already, and what HDF5 takes for a path.
bool is_reserved(const std::string& name) {
  static const std::vector<std::string> kReserved = {
      kOffsetArray, "prompt",    "layer",     "head",        "offset", "position",
      "lag",        "lag_range", kByLag,      kByLagRange,   "origin", "draw",
      "copy_index", kByPosition, kNullFolder, kQuantityAxis, "all"};
  const std::vector<std::string> suffixes = {kProfileSuffix,
                                             kTopProfileSuffix,
                                             std::string(kProfileSuffix) + kShapeSuffix,
                                             std::string(kTopProfileSuffix) + kShapeSuffix,
                                             std::string("_") + kByLag,
                                             std::string("_") + kByLagRange,
                                             std::string("_") + kByPosition,
                                             "_by_position_all_heads",
                                             "_matched",
                                             "_null",
                                             "_excess"};
  return name.empty() || name.front() == '.' || name.find('/') != std::string::npos ||
         std::any_of(suffixes.begin(), suffixes.end(),
                     [&](const std::string& suffix) { return name.ends_with(suffix); }) ||
         std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
}

std::vector<std::string> parse_names(MapReader& reader) {
  const ConfigNode* node = reader.require("scores");
  if (node == nullptr) return {};
  const auto names = node_texts(*node, reader.problems());
  if (names && names->empty()) reader.problems().add(*node, "names no score");
  std::vector<std::string> scores = names.value_or(std::vector<std::string>());
  auto sorted = scores;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    reader.problems().add(*node, "names a score twice");
  for (const std::string& name : scores)
    if (is_reserved(name))
      reader.problems().add(*node, fmt::format("'{}' cannot be the name of a score: rename the "
                                               "`pairs` in the prompt file",
                                               name));
  return scores;
}

std::vector<int32_t> parse_lags(MapReader& reader) {
  std::vector<int32_t> lags;
  const ConfigNode* node = reader.get("lags");
  if (node == nullptr) return lags;
  const auto add = [&](const ConfigNode& item) {
    if (const auto lag = node_integer(item, reader.problems(), 1, kLongestLag))
      lags.push_back(static_cast<int32_t>(*lag));
  };
  if (node->kind == ConfigNode::Kind::list) {
    for (const ConfigNode& item : node->items) add(item);
    if (node->items.empty()) reader.problems().add(*node, "names no lag");
  } else {
    add(*node);
  }
  std::sort(lags.begin(), lags.end());
  if (std::adjacent_find(lags.begin(), lags.end()) != lags.end())
    reader.problems().add(*node, "names a lag twice");
  return lags;
}

std::optional<NullOptions> parse_null(MapReader& reader) {
  const ConfigNode* node = reader.get("null_sources");
  if (node == nullptr) return std::nullopt;
  MapReader inner(*node, reader.problems());
  NullOptions null;
  null.draws = inner.integer("draws", 2, kMostDraws);
  null.max_shift = static_cast<int32_t>(inner.integer_or("max_shift", 0, 0, kLongestLag));
  inner.finish();
  return null;
}

/// Keys that are only about copies, or only about a null.
void check_together(MapReader& reader, const ScoreOptions& options) {
  const auto complain = [&](const char* key, const char* what) {
    if (reader.has(key)) reader.problems().add(*reader.get(key), what);
  };
  if (options.copy_scores().empty())
    for (const char* key : {"lags", "lag_split", "null_sources"})
      complain(key, "needs a score of copies: duplicate_token, induction or anti_induction");
  if (!options.null)
    for (const char* key : {"top_fraction", "top_heads"})
      complain(key, "goes with `null_sources` only");
  if (options.diagonal) {
    complain("null_sources", "goes with `queries: content` only");
    if (options.occurrence != Occurrence::latest)
      complain("occurrence", "goes with `queries: content` only");
  }
}

}  // namespace

bool is_built_in_score(const std::string& name) {
  return name == "previous_token" || key_offset_of(name).has_value();
}

std::optional<int32_t> key_offset_of(const std::string& score) {
  if (score == "duplicate_token") return 0;
  if (score == "induction") return 1;
  if (score == "anti_induction") return -1;
  return std::nullopt;
}

std::string name_of_pairs(const std::string& score) {
  const std::string prefix = "pairs.";
  return score.starts_with(prefix) ? score.substr(prefix.size()) : score;
}

std::vector<std::string> ScoreOptions::copy_scores() const {
  std::vector<std::string> names;
  for (const std::string& name : scores)
    if (key_offset_of(name)) names.push_back(name);
  return names;
}

Json ScoreOptions::to_json() const {
  Json json = {{"scores", scores},
               {"occurrence", kOccurrences[static_cast<size_t>(occurrence)]},
               {"queries", diagonal ? "diagonal" : "content"},
               {"by_position", kPositionScores[static_cast<size_t>(by_position)]},
               {"lags", lags},
               {"lag_split", lag_split}};
  if (!null) return json;
  json["null_sources"] = {{"draws", null->draws}, {"max_shift", null->max_shift}};
  json["top_fraction"] = top_fraction;
  json["top_heads"] = kTopChoices[chosen_anew ? 1 : 0];
  return json;
}

ScoreOptions parse_score_options(MapReader& reader) {
  ScoreOptions options;
  options.scores = parse_names(reader);
  const auto index = [&](const char* key, const std::vector<std::string>& choices) {
    const std::string value = reader.choice_or(key, choices.front(), choices);
    return std::find(choices.begin(), choices.end(), value) - choices.begin();
  };
  options.occurrence = static_cast<Occurrence>(index("occurrence", kOccurrences));
  options.diagonal = index("queries", {"content", "diagonal"}) == 1;
  options.by_position = static_cast<PositionScores>(index("by_position", kPositionScores));
  options.lags = parse_lags(reader);
  options.lag_split = static_cast<int32_t>(reader.integer_or("lag_split", 0, 1, kLongestLag));
  options.null = parse_null(reader);
  options.top_fraction = reader.number_or("top_fraction", 1.0, 1e-6, 1.0);
  options.chosen_anew = index("top_heads", kTopChoices) == 1;
  check_together(reader, options);
  return options;
}

}  // namespace mechsweep
