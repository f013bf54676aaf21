#include "experiments/head_controls.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/hash.h"
#include "experiments/readouts.h"
#include "experiments/stored_readings.h"

namespace mechsweep {

namespace {

constexpr uint8_t kNothing = 255;  // in controls/correct

template <typename T>
ArrayBlock block_of(int array, const std::vector<T>& values) {
  const auto bytes = bytes_of(std::span<const T>(values));
  return {array, {bytes.begin(), bytes.end()}};
}

/// Elements of a block, copied since bytes need not be aligned.
template <typename T>
std::vector<T> values_of(const ArrayBlock& block) {
  std::vector<T> values(block.bytes.size() / sizeof(T));
  std::copy(block.bytes.begin(), block.bytes.end(), reinterpret_cast<uint8_t*>(values.data()));
  return values;
}

/// Number of the array of that name.
int index_of(const std::vector<ArraySpec>& arrays, const std::string& name) {
  for (size_t i = 0; i < arrays.size(); ++i)
    if (arrays[i].name == name) return static_cast<int>(i);
  ensure(false, "an effect run has the arrays that it always has");
  return -1;
}

const ArrayBlock& block_of_array(const UnitResult& result, int array) {
  for (const ArrayBlock& block : result.blocks)
    if (block.array == array) return block;
  ensure(false, "an effect run fills its arrays");
  return result.blocks.front();
}

HeadPlace place_of(const HeadName& head) {
  return {head.layer, head.head};
}

std::vector<HeadPlace> places_of(const std::vector<HeadName>& heads) {
  std::vector<HeadPlace> places;
  places.reserve(heads.size());
  for (const HeadName& head : heads) places.push_back(place_of(head));
  return places;
}

std::string place_name(const Axis& axis, int64_t place) {
  return axis.labels.empty() ? std::to_string(axis.coordinates[place]) : axis.labels[place];
}

/// What the draws of `sets` stand for in a sentence.
std::string definition_of(const HeadControls::Design& design) {
  std::string text =
      "sets of as many heads as the chosen set, each without repeats, drawn with the sweep's seed "
      "from the stream 'controls/RUN/PLACE/MATCH': uniform from all candidates, layer from each "
      "layer as many as were chosen there; edited on the same prompts in the same way";
  if (design.all_but) text += "; the drawn heads are those that are left alone";
  text += design.config.chosen == ChosenHeads::allowed
              ? "; chosen heads can be drawn"
              : "; chosen heads are not drawn, so that there are no p-values";
  return text;
}

}  // namespace

HeadControls::HeadControls(const RunContext& context, Design design)
    : EffectRun(context, spec_of(design)), design_(std::move(design)) {
  for (const Prompt& prompt : prompts()) targets_ = std::max(targets_, std::ssize(prompt.targets));
  likely_ = edits_of(draw_sets(design_.likely, !design_.is_known), {0, design_.config.random_k});
}

EffectRun::Spec HeadControls::spec_of(const Design& design) {
  Axis match{.name = kMatchAxis, .size = std::ssize(design.config.match)};
  for (const DrawMatch one : design.config.match) match.labels.emplace_back(draw_match_name(one));
  Spec spec{.grid = {{.name = kRandomSetAxis, .size = design.config.random_k}, design.sets, match},
            .stage = design.first_stage + 1,
            .evaluated = design.evaluated};
  if (design.operations) spec.grid.push_back(*design.operations);
  return spec;
}

int64_t HeadControls::members() const {
  size_t most = 1;
  for (const auto& set : design_.likely) most = std::max(most, set.size());
  return static_cast<int64_t>(most);
}

std::vector<StageSpec> HeadControls::stages() const {
  StageSpec draws{.name = "draw", .needs = design_.needs, .decides = true};
  StageSpec trials{.name = "random_sets",
                   .needs = {{.stage = draw_stage()}},
                   .first_size = design_.config.random_k};
  return {std::move(draws), std::move(trials)};
}

std::vector<ArraySpec> HeadControls::arrays() const {
  const auto effects = EffectRun::arrays();
  const ArraySpec& loss = effects[index_of(effects, "loss")];
  const Axis& match = loss.axes[3];
  const Axis member{.name = "member", .size = members()};
  ArraySpec layers{.name = "controls/layer",
                   .type = ElementType::i32,
                   .axes = {design_.sets, match, loss.axes[1], member},
                   .stage = draw_stage(),
                   .attributes = {{"units", "1"},
                                  {"long_name", "layer of a drawn head, -1 where there is none"}}};
  ArraySpec heads = layers;
  heads.name = "controls/head";
  heads.attributes["long_name"] = "drawn head, -1 where there is none";
  ArraySpec losses = loss;
  losses.name = "controls/loss";
  ArraySpec correct = loss;
  correct.name = "controls/correct";
  correct.type = ElementType::u8;
  correct.attributes = {{"units", "1"},
                        {"long_name", "1: the answer has the largest logit; 255: not computed"}};
  return {layers, heads, losses, correct};
}

Json HeadControls::attributes() const {
  std::vector<std::string> matches;
  matches.reserve(design_.config.match.size());
  for (const DrawMatch match : design_.config.match) matches.emplace_back(draw_match_name(match));
  return {
      {"controls_random_k", design_.config.random_k},
      {"controls_match", matches},
      {"controls_chosen", design_.config.chosen == ChosenHeads::allowed ? "allowed" : "excluded"},
      {"controls_alternative", alternative_name(design_.config.alternative)},
      {"definition_controls", definition_of(design_)}};
}

std::vector<std::vector<HeadName>> HeadControls::draw_sets(const HeadSets& chosen,
                                                           bool stand_in) const {
  const std::vector<HeadPlace> candidates = places_of(design_.candidates);
  const int64_t draws = design_.config.random_k;
  std::vector<std::vector<HeadName>> sets(places() * matches() * draws);
  for (int64_t place = 0; place < places(); ++place) {
    if (chosen[place].empty()) continue;
    for (int64_t m = 0; m < matches(); ++m) {
      const DrawMatch match = design_.config.match[m];
      const HeadDrawOptions options{
          .draws = draws,
          .match = stand_in ? DrawMatch::uniform : match,
          .chosen = design_.config.chosen,
          .seed = context().seed,
          .purpose = fmt::format("controls/{}/{}/{}", context().run_id,
                                 place_name(design_.sets, place), draw_match_name(match))};
      const auto drawn = draw_heads(candidates, places_of(chosen[place]), options);
      const int64_t k = std::ssize(chosen[place]);
      for (int64_t i = 0; i < std::ssize(drawn); ++i)
        sets[(place * matches() + m) * draws + i / k].push_back(design_.candidates[drawn[i]]);
    }
  }
  return sets;
}

UnitResult HeadControls::draw(const HeadSets& chosen) const {
  std::vector<int32_t> layers, heads;
  for (const auto& set : draw_sets(chosen, false))
    for (int64_t i = 0; i < members(); ++i) {
      const bool there = i < std::ssize(set);
      layers.push_back(there ? set[i].layer : -1);
      heads.push_back(there ? set[i].head : -1);
    }
  UnitResult result;
  result.blocks = {block_of(design_.first_array, layers), block_of(design_.first_array + 1, heads)};
  return result;
}

std::vector<std::vector<HeadName>> HeadControls::stored_sets(const StoredResults& stored) const {
  StoredStage stage = stored.read(context().run_id, draw_stage());
  if (!stage.missing.empty())
    fail(ErrorKind::usage, "its random heads were not drawn: {}", stage.missing.front());
  const StoredRun run{.id = context().run_id, .arrays = std::move(stage.arrays)};
  const auto& layers = stored_array(run, "controls/layer").values;
  const auto& heads = stored_array(run, "controls/head").values;
  std::vector<std::vector<HeadName>> sets(places() * matches() * design_.config.random_k);
  for (size_t i = 0; i < sets.size() * static_cast<size_t>(members()); ++i)
    if (layers.at(i) >= 0.0)
      sets[i / static_cast<size_t>(members())].push_back(
          {static_cast<int32_t>(layers.at(i)), static_cast<int32_t>(heads.at(i))});
  return sets;
}

HeadControls::Drawn HeadControls::edits_of(const std::vector<std::vector<HeadName>>& sets,
                                           Range draws) const {
  HeadSelection selection{.kind = HeadSelection::Kind::sets, .all_but = design_.all_but};
  Drawn drawn;
  for (int64_t draw = draws.begin; draw < draws.end; ++draw)
    for (int64_t i = 0; i < places() * matches(); ++i) {
      const auto& set = sets[i * design_.config.random_k + draw];
      drawn.set_of.push_back(set.empty() ? -1 : std::ssize(selection.sets));
      if (!set.empty()) selection.sets.emplace_back("", set);
    }
  if (!selection.sets.empty())
    drawn.grid.emplace(HeadGrid(selection, LayerSelection(), Site::z, *context().model),
                       design_.positions, *context().prompts);
  return drawn;
}

std::optional<Intervention> HeadControls::of_drawn(const Drawn& drawn, int64_t first_draw,
                                                   int64_t prompt, std::span<const int64_t> place,
                                                   Executor* executor) const {
  const int64_t at = ((place[0] - first_draw) * places() + place[1]) * matches() + place[2];
  const int64_t set = drawn.set_of.at(at);
  if (set < 0) return std::nullopt;
  const int64_t operation = design_.operations ? place[3] : 0;
  return design_.ablation(*drawn.grid, prompt, set, operation, executor);
}

std::optional<Intervention> HeadControls::intervention(int64_t prompt,
                                                       std::span<const int64_t> place,
                                                       Executor* executor) const {
  return of_drawn(likely_, 0, prompt, place, executor);
}

UnitResult HeadControls::execute(int /*stage*/, Range prompts, Range draws,
                                 const UnitInputs& inputs) const {
  const bool is_real = inputs.stored != nullptr;
  const Drawn drawn = is_real ? edits_of(stored_sets(*inputs.stored), draws) : Drawn();
  const UnitResult all = execute_with(
      prompts, draws, inputs.executor, [&](int64_t prompt, std::span<const int64_t> place) {
        return is_real ? of_drawn(drawn, draws.begin, prompt, place, &inputs.executor)
                       : intervention(prompt, place, &inputs.executor);
      });
  return kept(all, prompts, draws);
}

UnitResult HeadControls::kept(const UnitResult& all, Range prompts, Range draws) const {
  const auto effects = EffectRun::arrays();
  const auto losses = values_of<double>(block_of_array(all, index_of(effects, "loss")));
  const auto top1 = values_of<int32_t>(block_of_array(all, index_of(effects, "top1")));
  std::vector<uint8_t> correct(top1.size(), kNothing);
  const int64_t row = std::ssize(top1) / prompts.size();
  ensure(row % targets_ == 0 && row / targets_ >= draws.size(), "a unit has all of its places");
  for (int64_t i = 0; i < std::ssize(top1); ++i) {
    const auto& asked = this->prompts()[prompts.begin + i / row].targets;
    const int64_t target = i % targets_;
    if (top1[i] >= 0 && target < std::ssize(asked))
      correct[i] = top1[i] == asked[target].answer ? 1 : 0;
  }
  UnitResult result;
  result.non_finite = all.non_finite;
  result.blocks = {block_of(design_.first_array + 2, losses),
                   block_of(design_.first_array + 3, correct)};
  return result;
}

std::vector<Metric> control_metrics(const StoredRun& run) {
  std::vector<Metric> metrics;
  const auto add = [&](const char* name, const char* stored, const char* long_name,
                       const char* units, bool is_flag) {
    const StoredArray* array = run.find(stored);
    if (array == nullptr || array->axes.empty()) return;
    Metric metric{.name = name,
                  .long_name = long_name,
                  .units = units,
                  .axes = {array->axes.begin() + 1, array->axes.end()},
                  .values = array->values,
                  .summarised = false,
                  .headline = false};
    for (double& value : metric.values)
      if (is_flag && value > 1.0) value = std::numeric_limits<double>::quiet_NaN();
    metrics.push_back(std::move(metric));
  };
  add("control_loss", "controls/loss", "loss on the answer with a random set", "nats", false);
  add("control_correct", "controls/correct", "1 where the answer comes first with a random set",
      "1", true);
  return metrics;
}

}  // namespace mechsweep
