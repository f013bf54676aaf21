#include "experiments/score_slots.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "experiments/head_scores.h"

namespace mechsweep {

namespace {

constexpr int kFirstOffset = -2;
constexpr int kOffsets = 5;

std::string long_name(const std::string& name) {
  if (name == "previous_token") return "attention to the previous token";
  if (name == "duplicate_token") return "attention to the earlier copy of the token";
  if (name == "induction") return "attention to the token after the earlier copy";
  if (name == "anti_induction") return "attention to the token before the earlier copy";
  return "attention over the prompts' pairs '" + name_of_pairs(name) + "'";
}

/// A table's row of `size`, what is missing filled with -1.
std::vector<int32_t> padded(std::vector<int32_t> row, int64_t size) {
  row.resize(size, -1);
  return row;
}

}  // namespace

ScoreSlots::ScoreSlots(const RunContext& context, ScoreOptions options)
    : context_(context), options_(std::move(options)) {
  const auto& prompts = context.prompts->prompts;
  for (const std::string& name : options_.scores) {
    const bool has_pairs = std::any_of(prompts.begin(), prompts.end(), [&](const Prompt& prompt) {
      return prompt.pairs.contains(name_of_pairs(name));
    });
    if (!is_built_in_score(name) && !has_pairs)
      fail(ErrorKind::usage,
           "score '{}' is neither built in (previous_token, duplicate_token, induction, "
           "anti_induction) nor a name in the `pairs` of any prompt of set '{}'",
           name, context.prompts->id);
  }
  for (const Prompt& prompt : prompts) {
    longest_ = std::max<int64_t>(longest_, std::ssize(prompt.tokens));
    if (options_.diagonal) only_lag(prompt);  // throws where there are several
  }
  heads_axes_ = {{.name = "prompt", .size = std::ssize(prompts)},
                 {.name = "layer", .size = context.model->n_layers},
                 {.name = "head", .size = context.model->n_heads}};
  add_named();
  add_lags();
  add_positions();
  add_nulls();
}

void ScoreSlots::add(ArraySpec spec, ScoreLayout layout, int64_t slots) {
  const bool table = layout == ScoreLayout::table;
  if (!table) spec.attributes["units"] = "1";
  arrays_.push_back({std::move(spec), layout, table ? tables_ : slots_, slots});
  (table ? tables_ : slots_) += slots;
}

void ScoreSlots::add_named() {
  for (const std::string& name : options_.scores)
    add({.name = name, .axes = heads_axes_, .attributes = {{"long_name", long_name(name)}}},
        ScoreLayout::by_head, 1);
  ArraySpec offsets{
      .name = kOffsetArray,
      .axes = heads_axes_,
      .attributes = {{"long_name", "attention to earlier occurrences of the token, shifted"}}};
  Axis offset{.name = "offset", .size = kOffsets};
  for (int i = 0; i < kOffsets; ++i) offset.coordinates.push_back(kFirstOffset + i);
  offsets.axes.push_back(std::move(offset));
  add(std::move(offsets), ScoreLayout::by_head, kOffsets);
}

std::vector<LagRange> ScoreSlots::lag_ranges() const {
  return {{.most = options_.lag_split}, {.least = options_.lag_split + 1}};
}

void ScoreSlots::add_lags() {
  for (const std::string& name : options_.copy_scores()) {
    ArraySpec spec{.axes = heads_axes_,
                   .attributes = {{"long_name", long_name(name) + ", by lag"}}};
    if (!options_.lags.empty()) {
      ArraySpec by_lag = spec;
      by_lag.name = fmt::format("{}/{}", kByLag, name);
      by_lag.axes.push_back(
          {.name = "lag", .size = std::ssize(options_.lags), .coordinates = options_.lags});
      add(std::move(by_lag), ScoreLayout::by_head, std::ssize(options_.lags));
    }
    if (options_.lag_split > 0) {
      spec.name = fmt::format("{}/{}", kByLagRange, name);
      spec.axes.push_back({.name = "lag_range",
                           .size = 2,
                           .labels = {fmt::format("up to {}", options_.lag_split),
                                      fmt::format("above {}", options_.lag_split)}});
      add(std::move(spec), ScoreLayout::by_head, 2);
    }
  }
}

void ScoreSlots::add_positions() {
  if (options_.by_position == PositionScores::none) return;
  const bool by_head = options_.by_position == PositionScores::heads;
  for (const std::string& name : options_.scores) {
    ArraySpec spec{
        .name = fmt::format("{}/{}", kByPosition, name),
        .axes = heads_axes_,
        .attributes = {{"long_name", long_name(name) + ", by query position" +
                                         (by_head ? "" : ", mean over the heads of a layer")}}};
    if (!by_head) spec.axes.pop_back();
    spec.axes.push_back({.name = "position", .size = longest_});
    add(std::move(spec), by_head ? ScoreLayout::by_head : ScoreLayout::by_layer, longest_);
  }
}

void ScoreSlots::add_nulls() {
  if (!options_.null) return;
  for (const std::string& name : options_.copy_scores())
    nulls_.emplace_back(name, *context_.prompts, options_.occurrence, *options_.null,
                        context_.seed);
  for (const CopyNull& null : nulls_) most_copies_ = std::max(most_copies_, null.most_copies());
  const Axis copy{.name = "copy_index", .size = most_copies_};
  const Axis origin{
      .name = "origin", .size = std::ssize(lag_origin_names()), .labels = lag_origin_names()};
  for (const CopyNull& null : nulls_) {
    add_null(null);
    const std::string folder = fmt::format("{}/{}/", kNullFolder, null.score());
    const Axis prompt = heads_axes_[0], draw{.name = kDrawAxis, .size = null.draws()};
    const auto table = [&](const char* name, std::vector<Axis> axes, const char* what) {
      add({.name = folder + name,
           .type = ElementType::i32,
           .axes = std::move(axes),
           .attributes = {{"long_name", what}}},
          ScoreLayout::table, 1);
    };
    table("query", {prompt, copy}, "position of a copy's query");
    table("source", {prompt, copy}, "position of its source");
    table("counts", {prompt, copy}, "1: it has a null source in every draw, and counts");
    table("null_source", {prompt, draw, copy}, "position of its null source, -1: none");
    table("origin", {prompt, origin}, "where the lags of null sources come from, by number");
  }
}

void ScoreSlots::add_null(const CopyNull& null) {
  const std::string folder = fmt::format("{}/{}/", kNullFolder, null.score());
  const std::string what = long_name(null.score());
  const Axis draw{.name = kDrawAxis, .size = null.draws()};
  add({.name = folder + "score",
       .axes = heads_axes_,
       .attributes = {{"long_name", what + ", over the copies that have null sources"}}},
      ScoreLayout::by_head, 1);
  const int64_t first = slots_;
  const auto add_shared = [&](const char* name, std::vector<Axis> axes, ScoreLayout layout,
                              const char* mean) {
    slots_ = first;  // all of these are made of the draws' slots
    add({.name = folder + name,
         .type = layout == ScoreLayout::slot_head ? ElementType::f32 : ElementType::f64,
         .axes = std::move(axes),
         .attributes = {{"long_name", what + ", at null sources" + mean}}},
        layout, null.draws());
  };
  const auto& axes = heads_axes_;
  add_shared("null_score", axes, ScoreLayout::slot_mean, ", mean over draws");
  add_shared("profile", {axes[0], draw, axes[1]}, ScoreLayout::slot_layer, ", mean over heads");
  if (options_.top_fraction < 1.0)
    add_shared("heads", {axes[0], draw, axes[1], axes[2]}, ScoreLayout::slot_head, "");
}

ScoreKeys ScoreSlots::copy_keys(const Prompt& prompt, int32_t offset, LagRange lags) const {
  if (!options_.diagonal) return occurrence_keys(prompt, options_.occurrence, offset, lags);
  const int32_t lag = only_lag(prompt);
  return lags.holds(lag) ? diagonal_keys(prompt, lag, offset) : ScoreKeys{};
}

ScoreKeys ScoreSlots::keys_of(const Prompt& prompt, const std::string& name) const {
  if (name == "previous_token") return previous_token_keys(prompt, options_.diagonal);
  if (const auto offset = key_offset_of(name)) return copy_keys(prompt, *offset);
  return pair_keys(prompt, name_of_pairs(name));
}

void ScoreSlots::append_null(const CopyNull& null, const Prompt& prompt, int64_t index,
                             PromptScores& result) const {
  const PromptNull drawn = null.of_prompt(prompt, index);
  result.slots.push_back(matched_keys(drawn, null.offset()));
  std::vector<int32_t> queries, sources, null_sources;
  for (const CopyOperation& copy : drawn.copies) {
    queries.push_back(copy.query);
    sources.push_back(copy.source);
  }
  for (int64_t draw = 0; draw < null.draws(); ++draw) {
    result.slots.push_back(null_keys(drawn, draw, null.offset()));
    const auto row = padded(drawn.sources[draw], most_copies_);
    null_sources.insert(null_sources.end(), row.begin(), row.end());
  }
  result.tables.push_back(padded(std::move(queries), most_copies_));
  result.tables.push_back(padded(std::move(sources), most_copies_));
  result.tables.push_back(padded({drawn.counts.begin(), drawn.counts.end()}, most_copies_));
  result.tables.push_back(std::move(null_sources));
  result.tables.push_back(drawn.origins);
}

PromptScores ScoreSlots::of_prompt(int64_t index) const {
  const Prompt& prompt = context_.prompts->prompts[index];
  PromptScores result;
  auto& slots = result.slots;
  for (const std::string& name : options_.scores) slots.push_back(keys_of(prompt, name));
  for (int i = 0; i < kOffsets; ++i) slots.push_back(copy_keys(prompt, kFirstOffset + i));
  for (const std::string& name : options_.copy_scores()) {
    const int32_t offset = *key_offset_of(name);
    for (const int32_t lag : options_.lags)
      slots.push_back(copy_keys(prompt, offset, {.least = lag, .most = lag}));
    if (options_.lag_split > 0)
      for (const LagRange& range : lag_ranges()) slots.push_back(copy_keys(prompt, offset, range));
  }
  if (options_.by_position != PositionScores::none)
    for (const std::string& name : options_.scores) {
      const ScoreKeys all = keys_of(prompt, name);
      for (int64_t position = 0; position < longest_; ++position)
        slots.push_back(keys_at(all, static_cast<int32_t>(position)));
    }
  for (const CopyNull& null : nulls_) append_null(null, prompt, index, result);
  return result;
}

}  // namespace mechsweep
