#include "experiments/effect_run.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/hash.h"
#include "experiments/flops.h"

namespace mechsweep {

namespace {

/// The datasets of one group of readings ("" or "base/" or "donor/"), in this order.
struct ReadingArrays {
  static constexpr int kCount = 5;

  static std::vector<ArraySpec> specs(const std::string& prefix, const std::vector<Axis>& axes,
                                      int64_t targets, int64_t tracked, int stage, bool split) {
    std::vector<Axis> per_target = axes;
    // A single target a prompt needs no axis of its own.
    if (targets > 1) per_target.push_back({.name = kTargetAxis, .size = targets});
    std::vector<Axis> per_token = per_target;
    per_token.push_back({.name = "tracked", .size = tracked});
    const auto make = [&](const char* name, ElementType type, const std::vector<Axis>& with,
                          const char* units, const char* long_name) {
      return ArraySpec{.name = prefix + name,
                       .type = type,
                       .axes = with,
                       .stage = stage,
                       .split_by_first = split,
                       .attributes = {{"units", units}, {"long_name", long_name}}};
    };
    return {
        make("loss", ElementType::f64, per_target, "nats", "-log softmax(logits)[answer]"),
        make("logit", ElementType::f32, per_token, "1",
             "raw logits of the tracked tokens, the answer first, then the wrong ones"),
        make("logit_mean", ElementType::f64, per_target, "1",
             "mean logit over the whole vocabulary"),
        make("logsumexp", ElementType::f64, per_target, "nats",
             "log of the sum of exp(logit) over the whole vocabulary"),
        make("top1", ElementType::i32, per_target, "token id", "token with the largest logit"),
    };
  }
};

/// Arrays of the base run: its readings, then the tracked tokens.
constexpr int kBaseArrays = ReadingArrays::kCount + 1;

/// Collects readings into the blocks of ReadingArrays.
class ReadingBlocks {
 public:
  ReadingBlocks(int first_array, int64_t places, int64_t targets, int64_t tracked)
      : first_array_(first_array),
        targets_(targets),
        tracked_(tracked),
        loss_(places * targets, kNaN),
        logit_(places * targets * tracked, std::numeric_limits<float>::quiet_NaN()),
        mean_(places * targets, kNaN),
        logsumexp_(places * targets, kNaN),
        top1_(places * targets, -1) {}

  void put(int64_t place, const std::vector<Reading>& readings) {
    for (size_t t = 0; t < readings.size(); ++t) {
      const Reading& reading = readings[t];
      const int64_t at = place * targets_ + static_cast<int64_t>(t);
      loss_[at] = reading.loss();
      mean_[at] = reading.logit_mean;
      logsumexp_[at] = reading.logsumexp;
      top1_[at] = reading.top1;
      std::copy(reading.tracked_logits.begin(), reading.tracked_logits.end(),
                logit_.begin() + at * tracked_);
    }
  }

  void append_to(UnitResult& result) const {
    int array = first_array_;
    const auto add = [&]<typename T>(const std::vector<T>& values) {
      const auto bytes = bytes_of(std::span<const T>(values));
      result.blocks.push_back({array++, {bytes.begin(), bytes.end()}});
    };
    add(loss_);
    add(logit_);
    add(mean_);
    add(logsumexp_);
    add(top1_);
  }

 private:
  static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

  int first_array_;
  int64_t targets_;
  int64_t tracked_;
  std::vector<double> loss_;
  std::vector<float> logit_;
  std::vector<double> mean_;
  std::vector<double> logsumexp_;
  std::vector<int32_t> top1_;
};

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

PromptTokens tokens_of(const Prompt& prompt) {
  return {prompt.tokens, prompt.corrupt_tokens};
}

}  // namespace

EffectRun::EffectRun(const RunContext& context, Side base, std::optional<Side> donor,
                     std::vector<Axis> grid)
    : context_(context), base_(base), donor_(donor), grid_(std::move(grid)) {
  for (const Prompt& prompt : prompts()) {
    if (prompt.targets.empty())
      fail(ErrorKind::input,
           "prompt '{}' of set '{}' has no target, and this experiment scores answers; give it "
           "`answer` or `targets`",
           prompt.id, context.prompts->id);
    if (!prompt.corrupt_targets.empty())
      fail(ErrorKind::input, "prompt '{}' has `corrupt_targets`, which are not supported yet",
           prompt.id);
    if ((base == Side::corrupt || donor == Side::corrupt) && prompt.corrupt_tokens.empty())
      fail(ErrorKind::input,
           "prompt '{}' of set '{}' has no corrupt partner, and this experiment needs one; give it "
           "`corrupt_tokens` or `corrupt_text`",
           prompt.id, context.prompts->id);
    std::vector<ReadPoint> points;
    for (const Target& target : prompt.targets) {
      ReadPoint point{.position = target.at, .tracked = {target.answer}};
      point.tracked.insert(point.tracked.end(), target.wrong.begin(), target.wrong.end());
      max_tracked_ = std::max(max_tracked_, static_cast<int64_t>(point.tracked.size()));
      points.push_back(std::move(point));
    }
    max_targets_ = std::max(max_targets_, static_cast<int64_t>(points.size()));
    reads_.push_back(std::move(points));
  }
}

std::vector<ArraySpec> EffectRun::arrays() const {
  const Axis prompt{.name = "prompt", .size = static_cast<int64_t>(prompts().size())};
  std::vector<ArraySpec> all =
      ReadingArrays::specs("base/", {prompt}, max_targets_, max_tracked_, kReferenceStage, false);
  ArraySpec tokens = all[1];  // logit: the same axes
  tokens.name = "base/tracked_token";
  tokens.type = ElementType::i32;
  tokens.attributes = {{"units", "token id"},
                       {"long_name", "what each tracked logit belongs to, the answer first"}};
  all.push_back(std::move(tokens));
  const auto append = [&all](std::vector<ArraySpec> more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  if (donor_)
    append(ReadingArrays::specs("donor/", {prompt}, max_targets_, max_tracked_, kReferenceStage,
                                false));
  std::vector<Axis> axes = {prompt};
  axes.insert(axes.end(), grid_.begin(), grid_.end());
  append(ReadingArrays::specs("", axes, max_targets_, max_tracked_, kEditedStage, true));
  return all;
}

std::vector<StageSpec> EffectRun::stages() const {
  return {{.name = "reference"}, {.name = "edited", .first_size = grid_.front().size}};
}

double EffectRun::flops(int stage, int64_t prompt, int64_t /*first*/) const {
  const auto tokens = static_cast<int64_t>(prompts()[prompt].tokens.size());
  const auto reads = static_cast<int64_t>(reads_[prompt].size());
  const double one = forward_flops(*context_.model, tokens, reads);
  if (stage == kReferenceStage) return donor_ ? 2.0 * one : one;
  double places = 1.0;
  for (size_t axis = 1; axis < grid_.size(); ++axis)
    places *= static_cast<double>(
        grid_[axis].name == "position" ? std::min(grid_[axis].size, tokens) : grid_[axis].size);
  return places * one;
}

UnitResult EffectRun::execute(int stage, Range range, Range first, Executor& executor) const {
  return stage == kReferenceStage ? run_references(range, executor)
                                  : run_edited(range, first, executor);
}

UnitResult EffectRun::run_references(Range range, Executor& executor) const {
  std::vector<PromptTokens> tokens;
  for (int64_t p = range.begin; p < range.end; ++p) tokens.push_back(tokens_of(prompts()[p]));
  UnitResult result;
  int first_array = 0;
  std::vector<Side> sides = {base_};
  if (donor_) sides.push_back(*donor_);
  for (const Side side : sides) {
    std::vector<Task> tasks;
    for (int64_t p = range.begin; p < range.end; ++p)
      tasks.push_back({static_cast<int32_t>(p - range.begin), {.base = side}, reads_[p]});
    const auto readings = executor.run(tokens, tasks);
    ReadingBlocks blocks(first_array, range.size(), max_targets_, max_tracked_);
    for (size_t i = 0; i < readings.size(); ++i) blocks.put(static_cast<int64_t>(i), readings[i]);
    blocks.append_to(result);
    if (first_array == 0) result.blocks.push_back(tracked_tokens(range));
    first_array = kBaseArrays;
  }
  return result;
}

UnitResult EffectRun::run_edited(Range range, Range first, Executor& executor) const {
  const auto places = places_of(grid_, first);
  std::vector<PromptTokens> tokens;
  std::vector<Task> tasks;
  std::vector<int64_t> destinations;
  for (int64_t p = range.begin; p < range.end; ++p) {
    const auto prompt_index = static_cast<int32_t>(tokens.size());
    tokens.push_back(tokens_of(prompts()[p]));
    for (size_t i = 0; i < places.size(); ++i) {
      auto list = edits(prompts()[p], places[i]);
      if (!list) continue;
      tasks.push_back({prompt_index, {.base = base_, .edits = std::move(*list)}, reads_[p]});
      destinations.push_back((p - range.begin) * static_cast<int64_t>(places.size()) +
                             static_cast<int64_t>(i));
    }
  }
  const auto readings = executor.run(tokens, tasks);
  const int first_array = kBaseArrays + (donor_ ? ReadingArrays::kCount : 0);
  ReadingBlocks blocks(first_array, range.size() * static_cast<int64_t>(places.size()),
                       max_targets_, max_tracked_);
  for (size_t i = 0; i < readings.size(); ++i) blocks.put(destinations[i], readings[i]);
  UnitResult result;
  blocks.append_to(result);
  return result;
}

ArrayBlock EffectRun::tracked_tokens(Range range) const {
  std::vector<int32_t> tokens(range.size() * max_targets_ * max_tracked_, -1);
  for (int64_t p = range.begin; p < range.end; ++p)
    for (size_t t = 0; t < reads_[p].size(); ++t)
      std::copy(reads_[p][t].tracked.begin(), reads_[p][t].tracked.end(),
                tokens.begin() +
                    ((p - range.begin) * max_targets_ + static_cast<int64_t>(t)) * max_tracked_);
  const auto bytes = bytes_of(std::span<const int32_t>(tokens));
  return {ReadingArrays::kCount, {bytes.begin(), bytes.end()}};
}

Json EffectRun::shared_attributes() const {
  Json attributes = {
      {"base", side_name(base_)},
      {"downstream", "recompute"},
      {"definition_loss", "-log softmax(logits)[answer], nats"},
      {"definition_margin", "answer logit - largest wrong logit"},
      {"definition_delta", "with the edit minus the same prompt's base run"},
  };
  if (donor_) {
    attributes["donor"] = side_name(*donor_);
    attributes["definition_recovery"] =
        "(edited - base) / (donor - base); NaN per prompt where the denominator is below 0.1; the "
        "headline is the ratio of means";
  }
  return attributes;
}

}  // namespace mechsweep
