#include "experiments/head_ablation.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "experiments/activation_sums.h"
#include "experiments/edit_grid.h"
#include "experiments/effect_metrics.h"
#include "experiments/effect_run.h"
#include "experiments/head_controls.h"
#include "experiments/head_operations.h"
#include "experiments/head_scores.h"
#include "experiments/operation_choice.h"
#include "experiments/resample_donors.h"
#include "experiments/selection.h"
#include "experiments/top_heads.h"

namespace mechsweep {

namespace {

struct Parameters : OperationChoice {
  PositionSelection positions;
  HeadSelection heads;              ///< unless `top`
  std::optional<TopSelection> top;  ///< heads that another run decides
  std::optional<ControlsConfig> controls;
  LayerSelection layers;
  Downstream downstream = Downstream::recompute;
  Readouts readouts;

  [[nodiscard]] bool all_but() const { return top ? top->all_but : heads.all_but; }
};

std::vector<HeadName> every_head(const ModelConfig& model) {
  std::vector<HeadName> heads;
  for (int32_t layer = 0; layer < model.n_layers; ++layer)
    for (int32_t head = 0; head < model.n_heads; ++head) heads.push_back({layer, head});
  return heads;
}

HeadSets sets_of(const HeadSelection& selection) {
  HeadSets sets;
  sets.reserve(selection.sets.size());
  for (const auto& [name, heads] : selection.sets) sets.push_back(heads);
  return sets;
}

/// The heads of the config; the dearest that may be chosen where another run decides.
EditGrid grid_of(const RunContext& context, const Parameters& parameters,
                 const std::optional<TopHeads>& top) {
  const HeadSelection heads = top ? top->sets_of(top->dearest()) : parameters.heads;
  return EditGrid(HeadGrid(heads, parameters.layers, Site::z, *context.model), parameters.positions,
                  *context.prompts);
}

class HeadAblationRun final : public EffectRun {
 public:
  HeadAblationRun(const RunContext& context, const Parameters& parameters,
                  std::optional<TopHeads> top)
      : HeadAblationRun(context, parameters, top, grid_of(context, parameters, top)) {}

  [[nodiscard]] std::vector<StageSpec> stages() const override {
    std::vector<StageSpec> stages = EffectRun::stages();
    if (top_) {
      stages.front().needs = {{.stage = kDecideStage}};
      stages.front().may_skip = parameters_.top->at_least.has_value();
      stages.insert(stages.begin(), top_->stage());
    }
    if (controls_)
      for (StageSpec& stage : controls_->stages()) stages.push_back(std::move(stage));
    return stages;
  }

  [[nodiscard]] std::vector<ArraySpec> arrays() const override {
    std::vector<ArraySpec> all = EffectRun::arrays();
    const auto append = [&all](const std::vector<ArraySpec>& more) {
      all.insert(all.end(), more.begin(), more.end());
    };
    if (top_) append(top_->arrays());
    if (controls_) append(controls_->arrays());
    return all;
  }

  [[nodiscard]] double flops(int stage, int64_t prompt, int64_t first) const override {
    return is_trial(stage) ? controls_->flops(stage, prompt, first)
                           : EffectRun::flops(stage, prompt, first);
  }
  [[nodiscard]] double shared_flops(int stage, int64_t prompt) const override {
    return is_trial(stage) ? controls_->shared_flops(stage, prompt)
                           : EffectRun::shared_flops(stage, prompt);
  }

  [[nodiscard]] UnitResult decide(int stage, const StoredResults& stored) const override {
    if (!controls_ || stage != controls_->draw_stage())
      return top_->decide(stored, static_cast<int>(EffectRun::arrays().size()));
    return controls_->draw(sets_of(top_ ? top_->sets_of(top_->chosen(stored)) : parameters_.heads));
  }

  [[nodiscard]] bool is_left_out(int /*stage*/, Range first,
                                 const StoredResults& stored) const override {
    return top_ && parameters_.top->at_least && top_->leaves_out(first, stored);
  }

  [[nodiscard]] UnitResult execute(int stage, Range prompts, Range first,
                                   const UnitInputs& inputs) const override {
    if (is_trial(stage)) return controls_->execute(stage, prompts, first, inputs);
    if (!top_ || inputs.stored == nullptr) return EffectRun::execute(stage, prompts, first, inputs);
    const HeadSelection chosen = top_->sets_of(top_->chosen(*inputs.stored));
    const EditGrid grid(HeadGrid(chosen, parameters_.layers, Site::z, *context().model),
                        parameters_.positions, *context().prompts);
    return execute_with(prompts, first, inputs.executor,
                        [&](int64_t prompt, std::span<const int64_t> place) {
                          return at_place(grid, prompt, place, &inputs.executor);
                        });
  }

  [[nodiscard]] Json attributes() const override {
    Json attributes = shared_attributes();
    attributes["site"] = "z";
    attributes["positions"] = parameters_.positions.describe();
    attributes["downstream"] = downstream_name(parameters_.downstream);
    attributes["estimand"] = estimand();
    if (top_) top_->describe(attributes);
    if (controls_) attributes.update(controls_->attributes());
    parameters_.describe_operations(
        attributes, [](const std::string& name) { return head_operation(name).definition; });
    return attributes;
  }

 protected:
  [[nodiscard]] std::optional<Intervention> intervention(int64_t prompt,
                                                         std::span<const int64_t> place,
                                                         Executor* executor) const override {
    return at_place(grid_, prompt, place, executor);
  }

 private:
  static constexpr int kDecideStage = 0;

  HeadAblationRun(const RunContext& context, const Parameters& parameters,
                  std::optional<TopHeads> top, EditGrid grid)
      : EffectRun(context, {.grid = all_axes(parameters, top, grid),
                            .readouts = parameters.readouts,
                            .stage = top ? kDecideStage + 1 : 0,
                            .evaluated = top ? top->evaluated() : std::vector<uint8_t>()}),
        parameters_(parameters),
        top_(std::move(top)),
        grid_(std::move(grid)),
        means_(context, Side::clean),
        donors_(context) {
    if (parameters_.uses("resample")) donors_.check();
    if (parameters_.uses("mean")) prepare_means();
    if (parameters_.controls) prepare_controls();
  }

  [[nodiscard]] bool is_trial(int stage) const {
    return controls_ && stage == controls_->trial_stage();
  }

  /// After everything that the ablations of random sets use.
  void prepare_controls() {
    const std::vector<Axis> axes = all_axes(parameters_, top_, grid_);
    HeadControls::Design design{
        .config = *parameters_.controls,
        .sets = axes.front(),
        .positions = parameters_.positions,
        .all_but = parameters_.all_but(),
        .first_stage = top_ ? 2 : 1,
        .first_array = static_cast<int>(EffectRun::arrays().size()),
        .is_known = !top_,
        .ablation = [this](const EditGrid& grid, int64_t prompt, int64_t set, int64_t operation,
                           Executor* executor) {
          const std::vector<int64_t> place = {set};
          return ablation(grid, prompt, place, parameters_.operations[operation], 0, executor);
        }};
    if (parameters_.operation_axis) design.operations = axes.back();
    if (top_) {
      design.needs = {{.stage = kDecideStage}};
      design.first_array += static_cast<int>(top_->arrays().size());
      design.candidates = top_->candidates();
      design.evaluated = top_->evaluated();
      design.likely = sets_of(top_->sets_of(top_->dearest()));
    } else {
      design.candidates = every_head(*context().model);
      design.likely = sets_of(parameters_.heads);
    }
    controls_.emplace(context(), std::move(design));
  }

  static std::vector<Axis> all_axes(const Parameters& parameters,
                                    const std::optional<TopHeads>& top, const EditGrid& grid) {
    std::vector<Axis> axes = grid.axes();
    if (top) axes.front() = top->k_axis();
    for (Axis& axis : parameters.operation_axes()) axes.push_back(std::move(axis));
    return axes;
  }

  [[nodiscard]] std::string estimand() const {
    const std::string done =
        parameters_.operations.size() == 1
            ? head_operation(parameters_.operations.front()).done
            : fmt::format("ablated ({})", fmt::join(parameters_.operations, ", "));
    const bool sets = parameters_.heads.kind == HeadSelection::Kind::sets;
    const std::string what = top_ ? top_->describe()
                             : sets && parameters_.all_but()
                                 ? "all heads but those of a set together"
                             : sets ? "all heads of a set together"
                                    : "one head";
    const std::string tried =
        top_ ? fmt::format(", tried on {}", prompt_half_name(parameters_.top->evaluate)) : "";
    return fmt::format("z of {} {} at {}, {}{}", what, done, parameters_.positions.describe(),
                       describe_downstream(parameters_.downstream), tried);
  }

  /// The grid's edits at a place, with the place's operation and draw.
  [[nodiscard]] std::optional<Intervention> at_place(const EditGrid& grid, int64_t prompt,
                                                     std::span<const int64_t> place,
                                                     Executor* executor) const {
    const size_t after_grid = grid.axes().size();
    const std::string& operation =
        parameters_.operations[parameters_.operation_axis ? place[after_grid] : 0];
    const int64_t draw = parameters_.draws > 1 ? place.back() : 0;
    return ablation(grid, prompt, place, operation, draw, executor);
  }

  [[nodiscard]] std::optional<Intervention> ablation(const EditGrid& grid, int64_t prompt,
                                                     std::span<const int64_t> place,
                                                     const std::string& operation, int64_t draw,
                                                     Executor* executor) const {
    auto edits = grid.edits(prompts()[prompt], place, edit(operation, prompt, draw, executor));
    if (!edits) return std::nullopt;
    ensure(!edits->empty(), "a joint edit is of one head at least");
    return Intervention{Side::clean, std::move(*edits), parameters_.downstream};
  }

  /// The edit without its place.
  [[nodiscard]] Edit edit(const std::string& operation, int64_t prompt, int64_t draw,
                          Executor* executor) const {
    Edit edit{.site = Site::z};
    if (operation == "value_bias") edit.operation = Operation::value_bias;
    if (operation == "resample") {
      edit.operation = Operation::replace;
      edit.donor = {donors_.donor(prompt, draw), Side::clean};
    }
    if (operation == "mean") {
      edit.operation = Operation::mean;
      edit.leave_out = true;
      edit.donor = {-1, Side::clean};
      if (executor != nullptr)
        edit.sums = means_.sums(parameters_.mean_over, Site::z, prompt, *executor);
    }
    return edit;
  }

  void prepare_means() {
    std::vector<int> layers = top_ ? top_->layers() : grid_.layers();
    // Random sets and what is left of the model may be anywhere.
    if (parameters_.all_but() || (parameters_.controls && !top_))
      layers = LayerSelection().resolve(context().model->n_layers);
    for (const int layer : layers) means_.need(parameters_.mean_over, Site::z, layer);
    for (size_t p = 0; p < prompts().size(); ++p)
      means_.check(parameters_.mean_over, static_cast<int64_t>(p), grid_.positions(prompts()[p]),
                   "mean_over");
  }

  Parameters parameters_;
  std::optional<TopHeads> top_;
  std::optional<HeadControls> controls_;
  EditGrid grid_;  ///< of the heads that the config names, or a stand-in for those to be chosen
  MeanSources means_;
  ResampleDonors donors_;
};

class HeadAblation final : public Experiment {
 public:
  explicit HeadAblation(MapReader& reader) {
    std::vector<std::string> known;
    for (const HeadOperation& operation : head_operations()) known.emplace_back(operation.name);
    parameters_.read_operations(reader, known);
    parameters_.positions = parse_positions(reader);
    parameters_.top = parse_top(reader);
    if (parameters_.top) {
      parameters_.heads.kind = HeadSelection::Kind::sets;
    } else {
      parameters_.heads = parse_heads(reader);
    }
    parameters_.layers = parse_layers(reader);
    parameters_.downstream = parse_downstream(reader);
    parameters_.readouts = parse_readouts(reader);
    parameters_.read_operation_keys(reader);
    check_heads_and_layers(parameters_.heads, parameters_.layers, reader);
    read_controls(reader);
  }

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    Json json = {
        {"positions", parameters_.positions.to_json()},
        {"heads", parameters_.top ? parameters_.top->to_json() : parameters_.heads.to_json()},
        {"layers", parameters_.layers.to_json()},
        {"downstream", downstream_name(parameters_.downstream)}};
    json.update(parameters_.operations_json());
    if (parameters_.top) json["evaluate"] = prompt_half_name(parameters_.top->evaluate);
    if (parameters_.controls) json["controls"] = parameters_.controls->to_json();
    json.update(parameters_.readouts.to_json());
    return json;
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    std::optional<TopHeads> top;
    if (parameters_.top) top.emplace(context, *parameters_.top);
    return std::make_unique<HeadAblationRun>(context, parameters_, std::move(top));
  }

 private:
  void read_controls(MapReader& reader) {
    // Heads that suffice leave little of the loss to lose when all others are removed.
    parameters_.controls =
        parse_controls(reader, parameters_.all_but() ? Alternative::less : Alternative::greater);
    if (!parameters_.controls) return;
    const ConfigNode& node = *reader.get("controls");
    if (parameters_.heads.kind != HeadSelection::Kind::sets)
      reader.problems().add(node, "goes with `heads: {top: ...}` and `heads: {sets: ...}` only");
    if (parameters_.positions.kind == PositionSelection::Kind::each)
      reader.problems().add(node, "goes with one joint edit, not with `positions: each`");
    if (parameters_.draws > 1)
      reader.problems().add(node, "goes with a single draw of the operation resample only");
  }

  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_head_ablation(MapReader& reader) {
  return std::make_unique<HeadAblation>(reader);
}

std::vector<Metric> derive_head_ablation(const StoredRun& run) {
  std::vector<Metric> metrics = derive_effects(run);
  for (Metric& metric : selection_metrics(run)) metrics.push_back(std::move(metric));
  for (Metric& metric : control_metrics(run)) metrics.push_back(std::move(metric));
  return metrics;
}

}  // namespace mechsweep
