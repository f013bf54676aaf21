#include "experiments/top_heads.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/hash.h"
#include "engine/site.h"
#include "experiments/head_scores.h"
#include "experiments/readouts.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kMostNames = 5;  // in one sentence

/// The first few names, and how many more there are.
std::string some_of(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kMostNames);
  const std::vector<std::string> first(names.begin(),
                                       names.begin() + static_cast<std::ptrdiff_t>(shown));
  const std::string text = fmt::format("{}", fmt::join(first, "; "));
  return shown == names.size() ? text : fmt::format("{}; and {} more", text, names.size() - shown);
}

template <typename T>
ArrayBlock block_of(int array, const std::vector<T>& values) {
  const auto bytes = bytes_of(std::span<const T>(values));
  return {array, {bytes.begin(), bytes.end()}};
}

/// Whether every prompt that is tried was left out of the choice.
bool is_held_out(const std::vector<uint8_t>& chosen_on, const std::vector<uint8_t>& evaluated) {
  for (size_t p = 0; p < chosen_on.size(); ++p)
    if (chosen_on[p] != 0 && evaluated[p] != 0) return false;
  return true;
}

}  // namespace

TopHeads::TopHeads(RunContext context, TopSelection asked)
    : context_(std::move(context)), asked_(std::move(asked)) {
  source_id_ = asked_.from + context_.run_id.substr(context_.run_id.find('/'));
  if (context_.earlier_run) source_ = context_.earlier_run(source_id_);
  if (source_.run == nullptr)
    fail(ErrorKind::usage,
         "`heads.top.from` is '{}', but there is no run '{}' above this one: name an experiment "
         "that stands above it and has the same model and prompts",
         asked_.from, source_id_);
  find_candidates(metric_of(probe()), *source_.run);
  if (asked_.k.back() > std::ssize(candidates_))
    fail(ErrorKind::usage, "`heads.top.k` asks for {} heads, but run '{}' has {} to choose from",
         asked_.k.back(), source_id_, candidates_.size());
  if (asked_.all_but && asked_.k.back() == context_.model->n_layers * context_.model->n_heads)
    fail(ErrorKind::usage,
         "`heads` has `all_but`, and `top.k` asks for all {} heads of the model, so that none is "
         "left to edit; ask for fewer",
         asked_.k.back());
  chosen_on_ = prompts_of_half(asked_.on, *context_.prompts, context_.seed);
  evaluated_ = prompts_of_half(asked_.evaluate, *context_.prompts, context_.seed);
}

/// The source's arrays for one prompt and without numbers: tells which metrics it has, and their
/// axes.
StoredRun TopHeads::probe() const {
  StoredRun run{.id = source_id_, .kind = source_.kind, .attributes = source_.run->attributes()};
  for (const ArraySpec& array : source_.run->arrays()) {
    StoredArray stored{.name = array.name, .axes = array.axes};
    if (!stored.axes.empty() && stored.axes.front().name == "prompt") stored.axes.front().size = 1;
    int64_t size = 1;
    for (const Axis& axis : stored.axes) size *= axis.size;
    stored.values.assign(size, kNaN);
    run.arrays.push_back(std::move(stored));
  }
  run.templates = {""};
  run.prompt_lengths = {1};
  run.prompt_ids = {""};
  run.complete = {1};
  run.vocab_size = context_.model->vocab_size;
  return run;
}

Metric TopHeads::metric_of(const StoredRun& run) const {
  std::vector<std::string> names;
  for (Metric& metric : experiment_kind(run.kind).derive(run)) {
    if (!metric.per_prompt) continue;
    if (metric.name == asked_.metric) return std::move(metric);
    names.push_back(metric.name);
  }
  const std::string near = nearest_name(asked_.metric, names);
  fail(ErrorKind::usage, "`heads.top.by` names '{}', which run '{}' does not have{}; it has: {}",
       asked_.metric, source_id_, near.empty() ? "" : " (did you mean '" + near + "'?)",
       fmt::join(names, ", "));
}

void TopHeads::find_candidates(const Metric& metric, const Run& source) {
  const auto& axes = metric.axes;
  size_t used = 0;
  if (axes.size() >= 2 && axes[0].name == "layer" && axes[1].name == "head") {
    used = 2;
    for (int64_t l = 0; l < axes[0].size; ++l)
      for (int64_t h = 0; h < axes[1].size; ++h)
        candidates_.push_back(
            {axes[0].coordinates.empty() ? static_cast<int32_t>(l) : axes[0].coordinates[l],
             static_cast<int32_t>(h)});
  } else if (!axes.empty() && axes[0].name == "named_head") {
    used = 1;
    for (const std::string& label : axes[0].labels) candidates_.push_back(head_of_name(label));
  }
  const Json attributes = source.attributes();
  const std::string site_name = attributes.value("site", "");
  bool has_query_heads = false;
  for (const SiteInfo& info : site_table())
    if (info.name == site_name) has_query_heads = info.heads == SiteHeads::query;
  if (used == 0 || !has_query_heads)
    fail(ErrorKind::usage,
         "`heads.top` cannot choose heads by '{}' of run '{}', which is not a number of each query "
         "head; name an experiment with `heads: all` or a list of heads",
         asked_.metric, source_id_);
  for (size_t i = used; i < axes.size(); ++i)
    if (axes[i].name != kDrawAxis && axes[i].name != kTargetAxis)
      fail(ErrorKind::usage,
           "`heads.top` cannot choose heads by '{}' of run '{}', which has a number of each head "
           "for every {}; name an experiment that has one",
           asked_.metric, source_id_, axes[i].name);
}

StageSpec TopHeads::stage() const {
  StageSpec spec{.name = "decide", .decides = true};
  for (size_t stage = 0; stage < source_.run->stages().size(); ++stage)
    spec.needs.push_back({source_id_, static_cast<int>(stage)});
  return spec;
}

Axis TopHeads::k_axis() const {
  return {.name = "k", .size = std::ssize(asked_.k), .coordinates = asked_.k};
}

std::vector<ArraySpec> TopHeads::arrays() const {
  Axis rank{.name = "rank", .size = asked_.k.back()};
  for (int32_t i = 1; i <= asked_.k.back(); ++i) rank.coordinates.push_back(i);
  const Axis prompt{.name = "prompt", .size = std::ssize(chosen_on_)};
  const auto array = [](const char* name, ElementType type, Axis axis, const char* long_name) {
    return ArraySpec{.name = name,
                     .type = type,
                     .axes = {std::move(axis)},
                     .attributes = {{"units", "1"}, {"long_name", long_name}}};
  };
  std::vector<ArraySpec> all = {
      array("selection/layer", ElementType::i32, rank, "layer of the chosen head, -1 for none"),
      array("selection/head", ElementType::i32, rank, "chosen head, -1 for none"),
      array("selection/score", ElementType::f64, rank, "what the head was chosen by"),
      array("selection/chosen_on", ElementType::u8, prompt, "1: the score is a mean over it"),
      array("selection/evaluated_on", ElementType::u8, prompt, "1: the edits are tried on it"),
  };
  all[2].attributes["definition"] = asked_.score();
  return all;
}

std::vector<int> TopHeads::layers() const {
  std::set<int> layers;
  for (const HeadName& head : candidates_) layers.insert(head.layer);
  return {layers.begin(), layers.end()};
}

std::string TopHeads::describe() const {
  return fmt::format("{}the k heads with the largest {} in run '{}' on {}, together",
                     asked_.all_but ? "every head but " : "", asked_.score(), source_id_,
                     asked_.on == PromptHalf::all ? "all prompts" : prompt_half_name(asked_.on));
}

void TopHeads::describe(Json& attributes) const {
  attributes["selected_from"] = source_id_;
  attributes["selected_by"] = asked_.score();
  attributes["selected_on"] = prompt_half_name(asked_.on);
  attributes["evaluated_on"] = prompt_half_name(asked_.evaluate);
  attributes["held_out"] = is_held_out(chosen_on_, evaluated_);
  std::string definition =
      "heads in the order of the mean, over the prompts of selected_on, of the prompt's mean over "
      "its targets and draws; the largest first, equal ones by layer, then by head";
  if (asked_.at_least) {
    attributes["selected_at_least"] = *asked_.at_least;
    definition += "; none below selected_at_least, and a k for which too few are left is skipped";
  }
  attributes["definition_selection"] = definition;
  if (asked_.on != PromptHalf::all || asked_.evaluate != PromptHalf::all)
    attributes["definition_halves"] = halves_definition(*context_.prompts);
}

StoredRun TopHeads::stored_source(const StoredResults& stored) const {
  StoredRun run{.id = source_id_, .kind = source_.kind, .attributes = source_.run->attributes()};
  std::vector<std::string> missing;
  for (size_t s = 0; s < source_.run->stages().size(); ++s) {
    StoredStage stage = stored.read(source_id_, static_cast<int>(s));
    missing.insert(missing.end(), stage.missing.begin(), stage.missing.end());
    std::move(stage.arrays.begin(), stage.arrays.end(), std::back_inserter(run.arrays));
  }
  if (!missing.empty())
    fail(ErrorKind::usage,
         "no heads are chosen, since {} of the units of run '{}' that the choice is made from {} "
         "not done: {}",
         missing.size(), source_id_, missing.size() == 1 ? "is" : "are", some_of(missing));
  for (const Prompt& prompt : context_.prompts->prompts) {
    run.templates.push_back(prompt.template_label);
    run.prompt_lengths.push_back(static_cast<int32_t>(prompt.tokens.size()));
    run.prompt_ids.push_back(prompt.id);
  }
  run.complete.assign(run.templates.size(), 1);
  run.vocab_size = context_.model->vocab_size;
  return run;
}

std::vector<double> TopHeads::scores(const Metric& metric) const {
  const HeadScores found = mean_head_scores(metric, std::ssize(candidates_), chosen_on_);
  std::vector<std::string> unusable;
  for (size_t i = 0; i < candidates_.size(); ++i)
    if (found.broken[i] > 0 || !std::isfinite(found.means[i]))
      unusable.push_back(fmt::format("{} ({} broken)", candidates_[i].text(), found.broken[i]));
  if (!unusable.empty())
    fail(ErrorKind::usage,
         "no heads are chosen, since '{}' of run '{}' has numbers that are NaN or infinite, or "
         "none at all, for {}; leave these heads out of experiment '{}', or use another metric or "
         "dtype",
         asked_.metric, source_id_, some_of(unusable), asked_.from);
  std::vector<double> scores = found.means;
  if (asked_.negated)
    for (double& score : scores) score = -score;
  return scores;
}

UnitResult TopHeads::decide(const StoredResults& stored, int first_array) const {
  const std::vector<double> score = scores(metric_of(stored_source(stored)));
  std::vector<size_t> order;
  for (size_t i = 0; i < candidates_.size(); ++i)
    if (!asked_.at_least || score[i] >= *asked_.at_least) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return score[a] != score[b] ? score[a] > score[b] : candidates_[a] < candidates_[b];
  });
  const auto ranks = static_cast<size_t>(asked_.k.back());
  std::vector<int32_t> layers(ranks, -1), heads(ranks, -1);
  std::vector<double> values(ranks, kNaN);
  for (size_t rank = 0; rank < std::min(ranks, order.size()); ++rank) {
    layers[rank] = candidates_[order[rank]].layer;
    heads[rank] = candidates_[order[rank]].head;
    values[rank] = score[order[rank]];
  }
  UnitResult result;
  result.blocks = {block_of(first_array, layers), block_of(first_array + 1, heads),
                   block_of(first_array + 2, values), block_of(first_array + 3, chosen_on_),
                   block_of(first_array + 4, evaluated_)};
  return result;
}

std::vector<ChosenHead> TopHeads::chosen(const StoredResults& stored) const {
  StoredStage stage = stored.read(context_.run_id, 0);
  if (!stage.missing.empty())
    fail(ErrorKind::usage, "its heads were not chosen: {}", some_of(stage.missing));
  return stored_selection({.id = context_.run_id, .arrays = std::move(stage.arrays)});
}

bool TopHeads::leaves_out(Range places, const StoredResults& stored) const {
  const auto enough = std::ssize(chosen(stored));
  for (int64_t place = places.begin; place < places.end; ++place)
    if (asked_.k[place] <= enough) return false;
  return true;
}

HeadSelection TopHeads::sets_of(const std::vector<ChosenHead>& chosen) const {
  HeadSelection selection{.kind = HeadSelection::Kind::sets, .all_but = asked_.all_but};
  for (const int32_t k : asked_.k) {
    std::vector<HeadName> heads;
    for (int32_t i = 0; i < k && k <= std::ssize(chosen); ++i) heads.push_back(chosen[i].head);
    selection.sets.emplace_back(std::to_string(k), std::move(heads));
  }
  return selection;
}

std::vector<ChosenHead> TopHeads::dearest() const {
  std::vector<HeadName> first = candidates_;
  std::sort(first.begin(), first.end());
  std::vector<ChosenHead> chosen;
  chosen.reserve(asked_.k.back());
  for (int32_t i = 0; i < asked_.k.back(); ++i) chosen.push_back({first[i], 0.0});
  return chosen;
}

}  // namespace mechsweep
