#include "experiments/logit_lens.h"

#include <algorithm>
#include <map>

#include <fmt/ranges.h>

#include "core/error.h"
#include "experiments/effect_metrics.h"
#include "experiments/effect_run.h"
#include "experiments/flops.h"
#include "experiments/selection.h"

// The final norm and the unembedding see one row of the last layer's residual stream and nothing
// else, neither its position nor other rows. So a unit takes two passes: one keeps the residual
// rows, the second puts each of them in place of the last resid_post where a target is read. The
// executors then compute no more than that row's logits, by the very path of every other reading.

namespace mechsweep {

namespace {

struct Parameters {
  std::vector<Site> sites;
  bool site_axis = false;
  PositionSelection positions;
  LayerSelection layers;
  Readouts readouts;

  /// Else every target is read at its own position.
  [[nodiscard]] bool has_position_axis() const {
    return positions.kind != PositionSelection::Kind::targets;
  }
};

std::vector<std::string> names_of(const std::vector<Site>& sites) {
  std::vector<std::string> names;
  names.reserve(sites.size());
  for (const Site site : sites) names.emplace_back(site_info(site).name);
  return names;
}

using Vector = std::shared_ptr<const std::vector<float>>;
using KeptRows = std::map<ActivationPoint, Vector>;

PositionSelection targets_only() {
  PositionSelection targets;
  targets.kind = PositionSelection::Kind::targets;
  return targets;
}

class LogitLensRun final : public EffectRun {
 public:
  LogitLensRun(const RunContext& context, const Parameters& parameters)
      : EffectRun(context, {.grid = axes_of(context, parameters), .readouts = parameters.readouts}),
        parameters_(parameters),
        layers_(parameters.layers.resolve(context.model->n_layers)) {
    for (const Site site : parameters.sites) check_site(site, *context.model);
    if (parameters.positions.kind == PositionSelection::Kind::list)
      for (const Prompt& prompt : prompts()) (void)parameters.positions.resolve(prompt);
  }

  [[nodiscard]] double shared_flops(int stage, int64_t prompt) const override {
    std::vector<ReadPoint> rows;
    for (const int32_t position : source_positions(prompts()[prompt]))
      rows.push_back({.position = position});
    const int64_t tokens = std::ssize(prompts()[prompt].tokens);
    return EffectRun::shared_flops(stage, prompt) +
           base_flops(*context().model, tokens, rows, false);
  }

  [[nodiscard]] UnitResult execute(int /*stage*/, Range range, Range first,
                                   const UnitInputs& inputs) const override {
    const std::vector<KeptRows> kept = keep_rows(range, first, inputs.executor);
    return execute_with(range, first, inputs.executor,
                        [&](int64_t prompt, std::span<const int64_t> place) {
                          return reading_of(prompt, place, &kept[prompt - range.begin]);
                        });
  }

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    attributes["site"] = fmt::format("{}", fmt::join(names_of(parameters_.sites), ", "));
    attributes["operation"] = "none";
    attributes["positions"] = parameters_.positions.describe();
    attributes["downstream"] = "recompute";
    attributes["estimand"] = fmt::format(
        "the residual stream at {} through the model's final norm and unembedding, without what "
        "stands between",
        parameters_.positions.describe());
    attributes["definition_lens"] =
        "logits := unembedding(final norm(residual)), soft cap included where the model has one";
    attributes["definition_delta"] = "through the lens minus the prompt's own run";
    attributes["definition_correct"] = "1 where the token with the largest logit is the answer";
    if (parameters_.has_position_axis())
      attributes["definition_position"] =
          "where the residual is taken from; it is scored by every target of the prompt";
    if (parameters_.readouts.kl)
      attributes["definition_kl"] =
          "KL(the run's own distribution at the target || lens), whole vocabulary, nats";
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* /*executor*/) const override {
    return reading_of(prompt, place, nullptr);
  }

 private:
  static std::vector<Axis> axes_of(const RunContext& context, const Parameters& parameters) {
    const auto layers = parameters.layers.resolve(context.model->n_layers);
    std::vector<Axis> axes = {{.name = "layer", .size = std::ssize(layers), .coordinates = layers}};
    if (parameters.site_axis)
      axes.push_back({.name = "site",
                      .size = std::ssize(parameters.sites),
                      .labels = names_of(parameters.sites)});
    if (!parameters.has_position_axis()) return axes;
    if (parameters.positions.kind == PositionSelection::Kind::each) {
      axes.push_back(position_axis(*context.prompts));
    } else {
      Axis listed{.name = "position", .size = std::ssize(parameters.positions.list)};
      for (const int64_t index : parameters.positions.list)
        listed.coordinates.push_back(static_cast<int32_t>(index));
      axes.push_back(std::move(listed));
    }
    return axes;
  }

  /// Where residual rows of a prompt are kept, ascending.
  [[nodiscard]] std::vector<int32_t> source_positions(const Prompt& prompt) const {
    const PositionSelection all;
    const bool each = parameters_.positions.kind == PositionSelection::Kind::each;
    return (each ? all : parameters_.positions).resolve(prompt);
  }

  /// The residual rows of the unedited runs, by prompt of the range.
  [[nodiscard]] std::vector<KeptRows> keep_rows(Range range, Range first,
                                                Executor& executor) const {
    std::vector<PromptTokens> tokens;
    std::vector<std::vector<ActivationPoint>> points;
    for (int64_t p = range.begin; p < range.end; ++p) {
      tokens.push_back({prompts()[p].tokens, prompts()[p].corrupt_tokens});
      auto& own = points.emplace_back();
      for (int64_t layer = first.begin; layer < first.end; ++layer)
        for (const Site site : parameters_.sites)
          for (const int32_t position : source_positions(prompts()[p]))
            own.push_back({site, layers_[layer], position});
    }
    std::vector<Task> tasks;
    for (size_t i = 0; i < points.size(); ++i)
      tasks.push_back({.prompt = static_cast<int32_t>(i), .activations = points[i]});
    auto results = executor.run(tokens, tasks);
    std::vector<KeptRows> kept(points.size());
    for (size_t i = 0; i < points.size(); ++i)
      for (size_t r = 0; r < points[i].size(); ++r)
        kept[i][points[i][r]] =
            std::make_shared<const std::vector<float>>(std::move(results[i].activations[r]));
    return kept;
  }

  /// Puts the rows of a place where the prompt's targets are read; without `kept` for its cost
  /// only. Nothing where the place lies past the prompt's end.
  [[nodiscard]] std::optional<Intervention> reading_of(int64_t prompt,
                                                       std::span<const int64_t> place,
                                                       const KeptRows* kept) const {
    const Prompt& own = prompts()[prompt];
    const int layer = layers_[place[0]];
    const Site site = parameters_.sites[parameters_.site_axis ? place[1] : 0];
    const auto edit = [&](int32_t from, std::vector<int32_t> to) {
      Edit put{.site = Site::resid_post,
               .layer = context().model->n_layers - 1,
               .positions = std::move(to),
               .operation = Operation::replace};
      if (kept != nullptr) put.vector = kept->at({site, layer, from});
      return put;
    };
    const std::vector<int32_t> read_at = targets_only().resolve(own);
    Intervention reading{.base = Side::clean};
    if (!parameters_.has_position_axis()) {
      for (const int32_t position : read_at) reading.edits.push_back(edit(position, {position}));
      return reading;
    }
    const auto length = std::ssize(own.tokens);
    int64_t from = place.back();
    if (parameters_.positions.kind == PositionSelection::Kind::list)
      from = parameters_.positions.list[from];
    if (from < 0) from += length;
    if (from >= length) return std::nullopt;
    reading.edits.push_back(edit(static_cast<int32_t>(from), read_at));
    return reading;
  }

  Parameters parameters_;
  std::vector<int32_t> layers_;
};

class LogitLens final : public Experiment {
 public:
  explicit LogitLens(MapReader& reader) {
    if (const ConfigNode* node = reader.require("site")) read_sites(*node, reader.problems());
    parameters_.positions = targets_only();
    if (const ConfigNode* node = reader.get("positions")) {
      parameters_.positions = parse_positions(reader);
      check_positions(*node, reader.problems());
    }
    parameters_.layers = parse_layers(reader);
    parameters_.readouts = parse_readouts(reader);
  }

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    const auto names = names_of(parameters_.sites);
    Json json = {{"site", parameters_.site_axis ? Json(names) : Json(names.front())},
                 {"positions", parameters_.positions.to_json()},
                 {"layers", parameters_.layers.to_json()}};
    json.update(parameters_.readouts.to_json());
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    return std::make_unique<LogitLensRun>(context, parameters_);
  }

 private:
  void read_sites(const ConfigNode& node, Problems& problems) {
    parameters_.site_axis = node.kind == ConfigNode::Kind::list;
    const std::vector<ConfigNode> alone = {node};
    for (const ConfigNode& item : parameters_.site_axis ? node.items : alone) {
      const auto name = node_choice(item, problems, {"resid_pre", "resid_mid", "resid_post"});
      if (!name) continue;
      const Site site = *find_site(*name);
      if (std::find(parameters_.sites.begin(), parameters_.sites.end(), site) !=
          parameters_.sites.end())
        problems.add(item, fmt::format("names '{}' twice", *name));
      parameters_.sites.push_back(site);
    }
    if (parameters_.site_axis && node.items.empty()) problems.add(node, "names no site");
  }

  void check_positions(const ConfigNode& node, Problems& problems) const {
    const auto kind = parameters_.positions.kind;
    if (kind == PositionSelection::Kind::all || kind == PositionSelection::Kind::span)
      problems.add(node,
                   "must be targets, each or a list of indices: a lens reads one position at "
                   "a time");
    auto list = parameters_.positions.list;
    std::sort(list.begin(), list.end());
    if (std::adjacent_find(list.begin(), list.end()) != list.end())
      problems.add(node, "names a position twice");
  }

  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_logit_lens(MapReader& reader) {
  return std::make_unique<LogitLens>(reader);
}

std::vector<Metric> derive_logit_lens(const StoredRun& run) {
  std::vector<Metric> metrics = derive_effects(run);
  const std::string edited = " under the edit";
  for (Metric& metric : metrics) {
    if (metric.name == "kl_base") metric.long_name = "KL(the run's own || lens)";
    if (metric.name.starts_with("delta_")) metric.long_name += " through the lens";
    const size_t at = metric.long_name.find(edited);
    if (at == std::string::npos) continue;
    metric.long_name.replace(at, edited.size(), " through the lens");
    const auto is = [&](const char* name) { return metric.name == name; };
    metric.summarised =
        metric.summarised || is("loss") || is("margin") || is("logit_0") || is("correct");
  }
  return metrics;
}

}  // namespace mechsweep
