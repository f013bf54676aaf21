#include <algorithm>
#include <limits>

#include "core/error.h"
#include "experiments/stored_readings.h"
#include "experiments/top_heads.h"

namespace mechsweep {

namespace {

constexpr int64_t kMostHeads = 1'000'000;
constexpr double kLargestScore = std::numeric_limits<double>::max();

/// `mean(METRIC)` or `mean(-METRIC)`.
void read_score(MapReader& map, TopSelection& top) {
  const std::string text = map.text("by");
  const ConfigNode* node = map.get("by");
  if (node == nullptr || text.empty()) return;
  const std::string before = "mean(";
  if (!text.starts_with(before) || !text.ends_with(')')) {
    map.problems().add(*node,
                       "must be the mean of a metric of that experiment, such as mean(delta_loss), "
                       "or mean(-delta_margin) where the smallest are wanted");
    return;
  }
  top.metric = text.substr(before.size(), text.size() - before.size() - 1);
  top.negated = top.metric.starts_with('-');
  if (top.negated) top.metric.erase(0, 1);
  if (top.metric.empty()) map.problems().add(*node, "names no metric");
}

void read_sizes(MapReader& map, TopSelection& top) {
  const ConfigNode* node = map.require("k");
  if (node == nullptr) return;
  const std::vector<ConfigNode> alone = {*node};
  const auto& items = node->kind == ConfigNode::Kind::list ? node->items : alone;
  for (const ConfigNode& item : items)
    if (const auto k = node_integer(item, map.problems(), 1, kMostHeads))
      top.k.push_back(static_cast<int32_t>(*k));
  if (items.empty()) map.problems().add(*node, "names no number of heads");
  // One form for one meaning, since the list is part of the file's key.
  std::sort(top.k.begin(), top.k.end());
  if (std::adjacent_find(top.k.begin(), top.k.end()) != top.k.end())
    map.problems().add(*node, "names a number of heads twice");
}

}  // namespace

Json TopSelection::to_json() const {
  Json top = {{"from", from}, {"by", score()}, {"k", k}, {"on", prompt_half_name(on)}};
  if (at_least) top["at_least"] = *at_least;
  if (all_but) return {{"all_but", true}, {"top", std::move(top)}};
  return {{"top", std::move(top)}};
}

std::string TopSelection::score() const {
  return fmt::format("mean({}{})", negated ? "-" : "", metric);
}

std::optional<TopSelection> parse_top(MapReader& reader) {
  const ConfigNode* heads = reader.get("heads");
  const bool is_map = heads != nullptr && heads->kind == ConfigNode::Kind::map;
  const ConfigNode* node = is_map ? heads->find("top") : nullptr;
  if (node == nullptr) {
    if (reader.has("evaluate"))
      reader.problems().add(*reader.get("evaluate"), "goes with `heads: {top: ...}` only");
    return std::nullopt;
  }
  TopSelection top;
  MapReader outer(*heads, reader.problems());
  (void)outer.get("top");
  top.all_but = outer.bool_or("all_but", false);
  outer.finish();
  MapReader map(*node, reader.problems());
  top.from = map.text("from");
  read_score(map, top);
  read_sizes(map, top);
  // Which prompts choose and which ones test is the claim itself, so neither has a default.
  top.on = prompt_half_of(map.choice("on", prompt_half_names()));
  if (map.has("at_least"))
    top.at_least = map.number_or("at_least", 0.0, -kLargestScore, kLargestScore);
  map.finish();
  top.evaluate = prompt_half_of(reader.choice("evaluate", prompt_half_names()));
  return top;
}

std::vector<ChosenHead> stored_selection(const StoredRun& run) {
  std::vector<ChosenHead> chosen;
  if (run.find("selection/layer") == nullptr) return chosen;
  const auto& layers = stored_array(run, "selection/layer").values;
  const auto& heads = stored_array(run, "selection/head").values;
  const auto& scores = stored_array(run, "selection/score").values;
  if (heads.size() != layers.size() || scores.size() != layers.size())
    fail(ErrorKind::input, "run '{}': its selection's datasets differ in size: the file is damaged",
         run.id);
  for (size_t rank = 0; rank < layers.size(); ++rank) {
    if (!(layers[rank] >= 0.0 && heads[rank] >= 0.0)) break;  // unfilled or no more heads
    chosen.push_back(
        {{static_cast<int32_t>(layers[rank]), static_cast<int32_t>(heads[rank])}, scores[rank]});
  }
  return chosen;
}

std::vector<uint8_t> stored_evaluated(const StoredRun& run) {
  std::vector<uint8_t> evaluated(run.templates.size(), 1);
  const StoredArray* stored = run.find("selection/evaluated_on");
  if (stored == nullptr || stored->values.size() != evaluated.size()) return evaluated;
  // What is not decided yet (255) leaves nothing out: its prompts are not complete either.
  for (size_t p = 0; p < evaluated.size(); ++p) evaluated[p] = stored->values[p] == 0.0 ? 0 : 1;
  return evaluated;
}

std::vector<Metric> selection_metrics(const StoredRun& run) {
  std::vector<Metric> metrics;
  if (run.find("selection/layer") == nullptr) return metrics;
  const auto chosen = stored_selection(run);
  const auto plain = [](const char* name, const char* long_name) {
    return Metric{
        .name = name, .long_name = long_name, .units = "1", .summarised = false, .headline = false};
  };
  Metric rank = plain("selected_rank", "place of the head among the chosen ones");
  rank.per_prompt = false;
  Axis heads{.name = "named_head", .size = std::ssize(chosen)};
  for (size_t i = 0; i < chosen.size(); ++i) {
    heads.labels.push_back(chosen[i].head.text());
    rank.values.push_back(static_cast<double>(i + 1));
  }
  rank.axes = {heads};
  Metric score = rank;
  score.name = "selected_score";
  score.long_name = "what the head was chosen by";
  for (size_t i = 0; i < chosen.size(); ++i) score.values[i] = chosen[i].score;
  metrics.push_back(std::move(rank));
  metrics.push_back(std::move(score));
  for (const char* name : {"chosen_on", "evaluated_on"}) {
    const StoredArray* stored = run.find(fmt::format("selection/{}", name));
    if (stored == nullptr || stored->values.size() != run.templates.size()) continue;
    metrics.push_back(plain(name, "1 where the prompt belongs to it"));
    for (const double value : stored->values)  // 255: nothing is decided yet
      metrics.back().values.push_back(value > 1.0 ? std::numeric_limits<double>::quiet_NaN()
                                                  : value);
  }
  return metrics;
}

}  // namespace mechsweep
