#include "experiments/effect_run.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/hash.h"
#include "experiments/flops.h"

namespace mechsweep {

namespace {

/// The places of a grid in row-major order, the first axis limited to a range.
std::vector<std::vector<int64_t>> places_of(const std::vector<Axis>& grid, Range first) {
  std::vector<std::vector<int64_t>> places = {{}};
  for (size_t axis = 0; axis < grid.size(); ++axis) {
    const Range range = axis == 0 ? first : Range{0, grid[axis].size};
    std::vector<std::vector<int64_t>> longer;
    for (const auto& place : places)
      for (int64_t i = range.begin; i < range.end; ++i) {
        longer.push_back(place);
        longer.back().push_back(i);
      }
    places = std::move(longer);
  }
  return places;
}

/// Everything of a prompt that the cost of an intervention may depend on.
std::string cost_signature(const Prompt& prompt) {
  std::string text = fmt::format("{};", prompt.tokens.size());
  for (const Target& target : prompt.targets) text += fmt::format("{},", target.at);
  for (const auto& [name, span] : prompt.spans)
    text += fmt::format(";{} {} {}", name, span.begin, span.end);
  for (const auto& [name, pairs] : prompt.pairs) text += fmt::format(";{} {}", name, pairs);
  return text;
}

/// The prompts of a unit as the executor gets them: its own, then donors from elsewhere in the set.
class UnitPrompts {
 public:
  UnitPrompts(const std::vector<Prompt>& prompts, Range own) : prompts_(prompts) {
    for (int64_t p = own.begin; p < own.end; ++p) (void)place(p);
  }

  /// Where a prompt of the set stands among the unit's.
  int32_t place(int64_t prompt) {
    const auto [found, is_new] = places_.emplace(prompt, static_cast<int32_t>(tokens_.size()));
    if (is_new) tokens_.push_back({prompts_[prompt].tokens, prompts_[prompt].corrupt_tokens});
    return found->second;
  }
  /// Turns donors' numbers in the set into places of the unit.
  void localise(int64_t prompt, Intervention& intervention) {
    for (Edit& edit : intervention.edits) {
      DonorRun& donor = edit.donor;
      if (donor.prompt < 0) continue;
      donor.prompt = donor.prompt == prompt ? -1 : place(donor.prompt);
    }
  }
  [[nodiscard]] std::span<const PromptTokens> tokens() const { return tokens_; }

 private:
  const std::vector<Prompt>& prompts_;
  std::map<int64_t, int32_t> places_;
  std::vector<PromptTokens> tokens_;
};

void check_prompt_fits(const Prompt& prompt, const std::string& set, bool needs_corrupt) {
  if (prompt.targets.empty())
    fail(ErrorKind::input,
         "prompt '{}' of set '{}' has no target, and this experiment scores answers; give it "
         "`answer` or `targets`",
         prompt.id, set);
  if (!prompt.corrupt_targets.empty())
    fail(ErrorKind::input, "prompt '{}' has `corrupt_targets`, which are not supported yet",
         prompt.id);
  if (needs_corrupt && prompt.corrupt_tokens.empty())
    fail(ErrorKind::input,
         "prompt '{}' of set '{}' has no corrupt partner, and this experiment needs one; give it "
         "`corrupt_tokens` or `corrupt_text`",
         prompt.id, set);
}

}  // namespace

EffectRun::EffectRun(const RunContext& context, Spec spec)
    : context_(context), spec_(std::move(spec)) {
  spec_.readouts.check(*context.model);
  const bool needs_corrupt = spec_.base == Side::corrupt || spec_.donor == Side::corrupt;
  for (const Prompt& prompt : prompts()) {
    check_prompt_fits(prompt, context.prompts->id, needs_corrupt);
    add_prompt(prompt);
  }
  reference_shape_.answer_rank = spec_.readouts.answer_rank;
  reference_shape_.top_k = spec_.readouts.top_k;
  edited_shape_ = reference_shape_;
  if (spec_.readouts.kl) edited_shape_.kl.emplace_back("kl_base");
  if (spec_.readouts.kl && spec_.donor) edited_shape_.kl.emplace_back("kl_donor");
  std::map<std::string, size_t> classes;
  for (size_t p = 0; p < prompts().size(); ++p) {
    std::string signature = "nothing";
    if (is_evaluated(static_cast<int64_t>(p))) signature = cost_signature(prompts()[p]);
    if (!spec_.cost_keys.empty()) signature += spec_.cost_keys[p];
    cost_class_.push_back(classes.emplace(signature, classes.size()).first->second);
  }
  costs_.resize(classes.size());
}

void EffectRun::add_prompt(const Prompt& prompt) {
  std::vector<ReadPoint> points;
  for (const Target& target : prompt.targets) {
    ReadPoint point{.position = target.at,
                    .tracked = {target.answer},
                    .rank = spec_.readouts.answer_rank,
                    .top_k = spec_.readouts.top_k};
    point.tracked.insert(point.tracked.end(), target.wrong.begin(), target.wrong.end());
    reference_shape_.tracked = std::max(reference_shape_.tracked, std::ssize(point.tracked));
    points.push_back(std::move(point));
  }
  reference_shape_.targets = std::max(reference_shape_.targets, std::ssize(points));
  reference_reads_.push_back(points);
  for (ReadPoint& point : points) {
    if (!spec_.readouts.kl) break;
    point.kl = {spec_.base};
    if (spec_.donor) point.kl.push_back(*spec_.donor);
  }
  edited_reads_.push_back(std::move(points));
}

std::vector<ArraySpec> EffectRun::arrays() const {
  const Axis prompt{.name = "prompt", .size = static_cast<int64_t>(prompts().size())};
  std::vector<ArraySpec> all =
      reading_arrays(reference_shape_, "base/", {prompt}, spec_.stage, false);
  ArraySpec tokens = all[1];  // logit: the same axes
  tokens.name = "base/tracked_token";
  tokens.type = ElementType::i32;
  tokens.attributes = {{"units", "token id"},
                       {"long_name", "what each tracked logit belongs to, the answer first"}};
  all.push_back(std::move(tokens));
  const auto append = [&all](std::vector<ArraySpec> more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  if (spec_.donor) append(reading_arrays(reference_shape_, "donor/", {prompt}, spec_.stage, false));
  std::vector<Axis> axes = {prompt};
  axes.insert(axes.end(), spec_.grid.begin(), spec_.grid.end());
  append(reading_arrays(edited_shape_, "", axes, spec_.stage, true));
  return all;
}

std::vector<StageSpec> EffectRun::stages() const {
  return {{.name = "edited", .first_size = spec_.grid.front().size}};
}

double EffectRun::flops(int /*stage*/, int64_t prompt, int64_t first) const {
  return costs(prompt).places.at(first);
}

double EffectRun::shared_flops(int /*stage*/, int64_t prompt) const {
  return costs(prompt).shared;
}

const EffectRun::Costs& EffectRun::costs(int64_t prompt) const {
  const std::lock_guard lock(mutex_);
  Costs& known = costs_[cost_class_[prompt]];
  if (known.places.empty()) known = compute_costs(prompt);
  return known;
}

EffectRun::Costs EffectRun::compute_costs(int64_t prompt) const {
  const int64_t tokens = std::ssize(prompts()[prompt].tokens);
  const auto& reads = edited_reads_[prompt];
  Costs costs;
  if (!is_evaluated(prompt)) {
    costs.places.assign(spec_.grid.front().size, 0.0);
    return costs;
  }
  std::set<std::pair<int32_t, Side>> unedited = {{-1, spec_.base}};
  if (spec_.donor && spec_.readouts.kl) unedited.emplace(-1, *spec_.donor);
  for (int64_t first = 0; first < spec_.grid.front().size; ++first) {
    double cost = 0.0;
    for (const auto& place : places_of(spec_.grid, {first, first + 1})) {
      const auto asked = intervention(prompt, place, nullptr);
      if (!asked) continue;
      cost += intervention_flops(*context_.model, tokens, *asked, reads);
      for (const Edit& edit : asked->edits)
        if (edit.takes_from_donor())
          unedited.emplace(edit.donor.prompt == prompt ? -1 : edit.donor.prompt, edit.donor.side);
    }
    costs.places.push_back(cost);
  }
  // Donors are as long as the prompt. Sums for means are made once in a process, whatever the unit,
  // and count for none.
  const auto unedited_run = [&](bool unembedded) {
    return base_flops(*context_.model, tokens, reads, unembedded);
  };
  costs.shared = static_cast<double>(unedited.size()) * unedited_run(spec_.readouts.kl);
  // The unit that begins the grid reads the base and donor runs, too.
  costs.places.front() += unedited_run(true) - unedited_run(spec_.readouts.kl);
  if (spec_.donor)
    costs.places.front() +=
        unedited_run(true) -
        (unedited.contains({-1, *spec_.donor}) ? unedited_run(spec_.readouts.kl) : 0.0);
  return costs;
}

std::vector<Side> EffectRun::unedited_sides() const {
  std::vector<Side> sides = {spec_.base};
  if (spec_.donor) sides.push_back(*spec_.donor);
  return sides;
}

UnitResult EffectRun::execute(int /*stage*/, Range range, Range first,
                              const UnitInputs& inputs) const {
  return execute_with(range, first, inputs.executor,
                      [&](int64_t prompt, std::span<const int64_t> place) {
                        return intervention(prompt, place, &inputs.executor);
                      });
}

UnitResult EffectRun::execute_with(Range range, Range first, Executor& executor,
                                   const InterventionOf& intervention_of) const {
  const auto places = places_of(spec_.grid, first);
  const std::vector<Side> sides = first.begin == 0 ? unedited_sides() : std::vector<Side>();
  std::vector<ReadingBlocks> unedited;
  for (size_t side = 0; side < sides.size(); ++side)
    unedited.emplace_back(reference_shape_, first_array_of(static_cast<int>(side)), range.size());
  ReadingBlocks edited(edited_shape_, first_array_of(std::ssize(unedited_sides())),
                       range.size() * std::ssize(places));
  UnitPrompts unit(prompts(), range);
  std::vector<Task> tasks;
  std::vector<std::pair<ReadingBlocks*, int64_t>> destinations;
  for (int64_t p = range.begin; p < range.end; ++p) {
    if (!is_evaluated(p)) continue;
    for (size_t side = 0; side < sides.size(); ++side) {
      tasks.push_back({.prompt = unit.place(p),
                       .intervention = {.base = sides[side]},
                       .reads = reference_reads_[p]});
      destinations.emplace_back(&unedited[side], p - range.begin);
    }
    for (size_t i = 0; i < places.size(); ++i) {
      auto asked = intervention_of(p, places[i]);
      if (!asked) continue;
      unit.localise(p, *asked);
      tasks.push_back(
          {.prompt = unit.place(p), .intervention = std::move(*asked), .reads = edited_reads_[p]});
      destinations.emplace_back(&edited,
                                (p - range.begin) * std::ssize(places) + static_cast<int64_t>(i));
    }
  }
  const auto results =
      tasks.empty() ? std::vector<TaskResult>() : executor.run(unit.tokens(), tasks);
  for (size_t i = 0; i < results.size(); ++i)
    destinations[i].first->put(destinations[i].second, results[i].readings);
  UnitResult result;
  for (size_t side = 0; side < sides.size(); ++side) {
    unedited[side].append_to(result);
    if (side == 0) result.blocks.push_back(tracked_tokens(range));
  }
  edited.append_to(result);
  return result;
}

ArrayBlock EffectRun::tracked_tokens(Range range) const {
  const int64_t targets = reference_shape_.targets;
  const int64_t tracked = reference_shape_.tracked;
  std::vector<int32_t> tokens(range.size() * targets * tracked, -1);
  for (int64_t p = range.begin; p < range.end; ++p)
    for (size_t t = 0; is_evaluated(p) && t < reference_reads_[p].size(); ++t) {
      const auto& own = reference_reads_[p][t].tracked;
      std::copy(own.begin(), own.end(),
                tokens.begin() + ((p - range.begin) * targets + static_cast<int64_t>(t)) * tracked);
    }
  const auto bytes = bytes_of(std::span<const int32_t>(tokens));
  return {reference_shape_.arrays(), {bytes.begin(), bytes.end()}};
}

Json EffectRun::shared_attributes() const {
  Json attributes = {
      {"base", side_name(spec_.base)},
      {"definition_loss", "-log softmax(logits)[answer], nats"},
      {"definition_margin", "answer logit - largest wrong logit"},
      {"definition_delta", "with the edit minus the same prompt's base run"},
  };
  if (spec_.donor) {
    attributes["donor"] = side_name(*spec_.donor);
    attributes["definition_recovery"] =
        "(edited - base) / (donor - base); NaN per prompt where the denominator is below 0.1; the "
        "headline is the ratio of means";
  }
  if (spec_.readouts.answer_rank)
    attributes["definition_answer_rank"] = "number of tokens with a larger logit than the answer";
  if (spec_.readouts.kl)
    attributes["definition_kl"] =
        "KL(base || edited) and, with a donor, KL(donor || edited), whole vocabulary, nats";
  return attributes;
}

}  // namespace mechsweep
