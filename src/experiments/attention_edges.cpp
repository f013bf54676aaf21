#include "experiments/attention_edges.h"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "experiments/edge_pairs.h"
#include "experiments/effect_run.h"
#include "experiments/head_grid.h"
#include "experiments/head_scores.h"
#include "experiments/operation_choice.h"
#include "experiments/resample_donors.h"
#include "experiments/selection.h"

namespace mechsweep {

namespace {

constexpr const char* kAllTogether = "all_together";
constexpr const char* kResample = "resample";

/// Which vectors of a pair an edit changes, as users name them.
struct EdgeEdit {
  const char* name;
  std::vector<Site> sites;
};

const std::vector<EdgeEdit>& edge_edits() {
  static const std::vector<EdgeEdit> kEdits = {
      {"q", {Site::q}},
      {"k", {Site::k}},
      {"v", {Site::v}},
      {"query_and_key", {Site::q, Site::k}},
      {"query_and_value", {Site::q, Site::v}},
      {"key_and_value", {Site::k, Site::v}},
      {"all", {Site::q, Site::k, Site::v}},
  };
  return kEdits;
}

const std::vector<Site>& sites_of(const std::string& name) {
  for (const EdgeEdit& edit : edge_edits())
    if (name == edit.name) return edit.sites;
  ensure(false, "an edit that was checked is gone");
  return edge_edits().front().sites;
}

/// A name, or a list of names, which makes an axis.
struct Names {
  std::vector<std::string> names;
  bool is_axis = false;

  [[nodiscard]] Json to_json() const { return is_axis ? Json(names) : Json(names.front()); }
  [[nodiscard]] int64_t at(std::span<const int64_t> place, size_t axis) const {
    return is_axis ? place[axis] : 0;
  }
};

struct Parameters {
  Names pairs;
  Names edits;  ///< of a cut, which changes the score itself: none
  Operation operation = Operation::zero;
  std::string donor;  ///< replace: corrupt or resample
  int64_t draws = 1;  ///< more than one: an axis
  std::string occurrence_name = "latest";
  bool all_together = false;
  HeadSelection heads;  ///< unless all_together
  LayerSelection layers;
  Downstream downstream = Downstream::recompute;
  Readouts readouts;

  /// A run has one axis at least, so pairs are one where the heads make none.
  [[nodiscard]] bool has_pairs_axis() const { return pairs.is_axis || all_together; }
  [[nodiscard]] bool cuts() const { return operation == Operation::cut; }
  [[nodiscard]] Occurrence occurrence() const {
    return occurrence_name == "first" ? Occurrence::first
           : occurrence_name == "all" ? Occurrence::all
                                      : Occurrence::latest;
  }
};

/// The heads of a run: all of the chosen layers are one joint edit with all_together.
HeadGrid grid_of(const Parameters& parameters, const ModelConfig& model) {
  if (!parameters.all_together) return {parameters.heads, parameters.layers, Site::z, model};
  HeadSelection together;
  together.kind = HeadSelection::Kind::sets;
  auto& [name, heads] = together.sets.emplace_back(kAllTogether, std::vector<HeadName>());
  for (const int32_t layer : parameters.layers.resolve(model.n_layers))
    for (int32_t head = 0; head < model.n_heads; ++head) heads.push_back({layer, head});
  return {together, LayerSelection(), Site::z, model};
}

class AttentionEdgesRun final : public EffectRun {
 public:
  AttentionEdgesRun(const RunContext& context, const Parameters& parameters, HeadGrid heads,
                    EdgePairs pairs)
      : EffectRun(context, spec_of(parameters, heads, pairs)),
        parameters_(parameters),
        heads_(std::move(heads)),
        pairs_(std::move(pairs)),
        donors_(context) {
    if (parameters_.donor == kResample) donors_.check();
  }

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    attributes["site"] =
        parameters_.cuts() ? "pattern" : fmt::format("{}", fmt::join(sites(), ", "));
    attributes["operation"] = operation_name(parameters_.operation);
    attributes["positions"] = "attention edges";
    attributes["pairs"] = pairs_.names();
    attributes["pairs_per_prompt"] = pairs_.describe_counts();
    if (!parameters_.cuts()) attributes["edit"] = parameters_.edits.names;
    attributes["occurrence"] = parameters_.occurrence_name;
    attributes["downstream"] = downstream_name(parameters_.downstream);
    attributes["estimand"] = estimand();
    attributes["definition_operation"] = definition();
    attributes["definition_pairs"] =
        "previous_token, duplicate_token, induction, anti_induction: every content query q and key "
        "that the score of that name counts (q-1; s; s+1; s-1, for s in S(q)); other names: the "
        "prompts' own pairs";
    attributes["definition_random"] =
        "random.NAME: for every query of NAME as many keys as NAME has there, drawn evenly without "
        "replacement from the content positions before the query that are not keys of NAME, with "
        "the seed and the prompt's number; each draw anew";
    attributes["draws"] = parameters_.draws;
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* /*executor*/) const override {
    const size_t pairs_axis = parameters_.all_together ? 0 : heads_.axes().size();
    const size_t edit_axis = pairs_axis + (parameters_.has_pairs_axis() ? 1 : 0);
    const int64_t draw = parameters_.draws > 1 ? place.back() : 0;
    Edit edit{.operation = parameters_.operation,
              .edges = pairs_.on(prompt, parameters_.pairs.at(place, pairs_axis), draw)};
    if (parameters_.operation == Operation::replace)
      edit.donor = parameters_.donor == kResample ? DonorRun{donors_.donor(prompt, draw)}
                                                  : DonorRun{-1, Side::corrupt};
    std::vector<Site> sites = {Site::k};  // a cut of a pair is the same at any
    if (!parameters_.cuts())
      sites = sites_of(parameters_.edits.names[parameters_.edits.at(place, edit_axis)]);
    Intervention intervention{Side::clean, {}, parameters_.downstream};
    static constexpr std::array<int64_t, 1> kOnlyPlace = {0};
    for (const auto& [layer, heads] : heads_.at(parameters_.all_together ? kOnlyPlace : place)) {
      edit.layer = layer;
      edit.heads = heads;
      for (const Site site : sites) {
        edit.site = site;
        intervention.edits.push_back(edit);
      }
    }
    return intervention;
  }

 private:
  static Spec spec_of(const Parameters& parameters, const HeadGrid& heads, const EdgePairs& pairs) {
    Spec spec{.readouts = parameters.readouts, .cost_keys = pairs.queries_of_prompts()};
    if (parameters.donor == side_name(Side::corrupt)) spec.donor = Side::corrupt;
    if (!parameters.all_together) spec.grid = heads.axes();
    const auto add = [&spec](const char* name, const Names& names) {
      spec.grid.push_back({.name = name, .size = std::ssize(names.names), .labels = names.names});
    };
    if (parameters.has_pairs_axis()) add("pairs", parameters.pairs);
    if (parameters.edits.is_axis) add("edit", parameters.edits);
    if (parameters.draws > 1) spec.grid.push_back({.name = kDrawAxis, .size = parameters.draws});
    return spec;
  }

  /// Names of the sites that some edit changes.
  [[nodiscard]] std::vector<std::string> sites() const {
    std::vector<std::string> names;
    for (const std::string& edit : parameters_.edits.names)
      for (const Site site : sites_of(edit)) {
        const std::string name(site_info(site).name);
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    return names;
  }

  [[nodiscard]] std::string definition() const {
    switch (parameters_.operation) {
      case Operation::cut:
        return "the pair's score := -infinity, so that the query's attention is renormalised "
               "without it";
      case Operation::replace:
        return "the pair alone takes the vector of the donor run at the same layer, head and "
               "position (of the query for q, of the key for k and v), rotated for that position";
      default:
        return "q, k: the pair's score := 0 before the softmax, which renormalises the row; v: the "
               "pair's weighted value is dropped, the weights stay";
    }
  }

  [[nodiscard]] std::string estimand() const {
    const bool sets = parameters_.heads.kind == HeadSelection::Kind::sets;
    const char* where = parameters_.all_together ? "in all heads of all chosen layers together"
                        : sets                   ? "in all heads of a set together"
                                                 : "in one head";
    const std::string what = parameters_.cuts()
                                 ? "attention"
                                 : fmt::format("{}", fmt::join(parameters_.edits.names, " or "));
    const std::string done = parameters_.cuts() ? "cut"
                             : parameters_.operation == Operation::zero
                                 ? "zeroed"
                                 : fmt::format("taken from the {} run", parameters_.donor);
    return fmt::format("{} of the pairs {} {}, {}, {}", what, fmt::join(pairs_.names(), " or "),
                       done, where, describe_downstream(parameters_.downstream));
  }

  Parameters parameters_;
  HeadGrid heads_;
  EdgePairs pairs_;
  ResampleDonors donors_;
};

class AttentionEdges final : public Experiment {
 public:
  explicit AttentionEdges(MapReader& reader) {
    read_pairs(reader);
    const std::string operation = reader.choice("operation", {"zero", "cut", "replace"});
    parameters_.operation = operation == "cut"       ? Operation::cut
                            : operation == "replace" ? Operation::replace
                                                     : Operation::zero;
    read_edits(reader);
    read_donor(reader);
    parameters_.occurrence_name =
        reader.choice_or("occurrence", "latest", {"latest", "first", "all"});
    read_heads(reader);
    parameters_.downstream = parse_downstream(reader);
    parameters_.readouts = parse_readouts(reader);
  }

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    Json json = {
        {"pairs", parameters_.pairs.to_json()},
        {"operation", operation_name(parameters_.operation)},
        {"occurrence", parameters_.occurrence_name},
        {"draws", parameters_.draws},
        {"heads", parameters_.all_together ? Json(kAllTogether) : parameters_.heads.to_json()},
        {"layers", parameters_.layers.to_json()},
        {"downstream", downstream_name(parameters_.downstream)}};
    if (!parameters_.cuts()) json["edit"] = parameters_.edits.to_json();
    if (!parameters_.donor.empty()) json["donor"] = parameters_.donor;
    json.update(parameters_.readouts.to_json());
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    return std::make_unique<AttentionEdgesRun>(
        context, parameters_, grid_of(parameters_, *context.model),
        EdgePairs(context, parameters_.pairs.names, parameters_.occurrence()));
  }

 private:
  /// The names of a key, each once, that `problem_of` finds nothing wrong with.
  template <typename ProblemOf>
  static Names read_names(const ConfigNode& node, Problems& problems, ProblemOf problem_of) {
    Names names{.names = {}, .is_axis = node.kind == ConfigNode::Kind::list};
    const std::vector<ConfigNode> alone = {node};
    for (const ConfigNode& item : names.is_axis ? node.items : alone) {
      const auto name = node_text(item, problems);
      if (!name) continue;
      const std::string problem = problem_of(item, *name);
      if (!problem.empty()) problems.add(item, problem);
      if (std::find(names.names.begin(), names.names.end(), *name) != names.names.end())
        problems.add(item, fmt::format("names '{}' twice", *name));
      names.names.push_back(*name);
    }
    if (names.is_axis && node.items.empty()) problems.add(node, "the list is empty");
    return names;
  }

  void read_pairs(MapReader& reader) {
    if (const ConfigNode* node = reader.require("pairs"))
      parameters_.pairs = read_names(
          *node, reader.problems(),
          [](const ConfigNode&, const std::string& name) { return EdgePairs::problem_of(name); });
  }

  void read_edits(MapReader& reader) {
    if (parameters_.cuts()) {
      if (const ConfigNode* node = reader.get("edit"))
        reader.problems().add(*node, "goes with zero and replace; a cut changes the score itself");
      return;
    }
    std::vector<std::string> known;
    for (const EdgeEdit& edit : edge_edits()) known.emplace_back(edit.name);
    if (const ConfigNode* node = reader.require("edit"))
      parameters_.edits =
          read_names(*node, reader.problems(), [&](const ConfigNode& item, const std::string&) {
            (void)node_choice(item, reader.problems(), known);
            return std::string();
          });
  }

  void read_donor(MapReader& reader) {
    const bool replaces = parameters_.operation == Operation::replace;
    if (replaces) {
      parameters_.donor = reader.choice("donor", {"corrupt", kResample});
    } else if (const ConfigNode* node = reader.get("donor")) {
      reader.problems().add(*node, "goes with the operation replace only");
    }
    parameters_.draws = reader.integer_or("draws", 1, 1, kMostDraws);
    const auto& names = parameters_.pairs.names;
    const bool all_random = std::all_of(names.begin(), names.end(), EdgePairs::is_random);
    if (parameters_.draws > 1 && !all_random && parameters_.donor != kResample)
      reader.problems().add(*reader.get("draws"),
                            "more than one draw needs an experiment of its own, all of whose pairs "
                            "are random ones such as random.induction, or `donor: resample`");
  }

  void read_heads(MapReader& reader) {
    const ConfigNode* node = reader.get("heads");
    parameters_.all_together =
        node != nullptr && node->kind == ConfigNode::Kind::scalar && node->scalar == kAllTogether;
    if (!parameters_.all_together) parameters_.heads = parse_heads(reader);
    parameters_.layers = parse_layers(reader);
    if (!parameters_.all_together)
      check_heads_and_layers(parameters_.heads, parameters_.layers, reader);
  }

  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_attention_edges(MapReader& reader) {
  return std::make_unique<AttentionEdges>(reader);
}

}  // namespace mechsweep
