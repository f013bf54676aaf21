#include "experiments/direct_logit_attribution.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/hash.h"
#include "engine/direct_logits.h"
#include "experiments/flops.h"
#include "experiments/readouts.h"
#include "experiments/stored_readings.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// What is neither head, attention bias nor MLP, in the order of the axis `component`.
const std::vector<std::string> kOthers = {"token_embedding", "position_embedding",
                                          "final_norm_bias", "unembedding_bias", "remainder"};

/// A dataset of contributions, [prompt, axes..., target, tracked].
struct Part {
  const char* name;  ///< its metrics begin with it
  const char* long_name;

  [[nodiscard]] std::string dataset() const { return std::string(name) + "_contribution"; }
};
constexpr Part kHeads = {"head", "direct contribution of a head"};
constexpr Part kBiases = {"attention_bias", "direct contribution of an attention output's bias"};
constexpr Part kMlps = {"mlp", "direct contribution of an MLP"};
constexpr Part kRest = {"other", "direct contribution of embeddings and biases"};

ReadPoint read_point(const Target& target) {
  ReadPoint point{.position = target.at, .tracked = {target.answer}};
  point.tracked.insert(point.tracked.end(), target.wrong.begin(), target.wrong.end());
  return point;
}

/// Values [prompt, cell, target, tracked] of a unit; what gets none stays NaN.
class Contributions {
 public:
  Contributions(int64_t prompts, int64_t cells, const ReadingShape& shape)
      : cells_(cells), shape_(shape), values_(prompts * cells * shape.targets * shape.tracked) {
    std::fill(values_.begin(), values_.end(), kNaN);
  }

  /// `own` [cells, own tracked] of one target, from a cell on.
  void put(int64_t prompt, int64_t target, std::span<const double> own, int64_t own_tracked,
           int64_t first_cell = 0) {
    for (int64_t i = 0; i < std::ssize(own); ++i) {
      const int64_t cell = first_cell + i / own_tracked;
      values_[((prompt * cells_ + cell) * shape_.targets + target) * shape_.tracked +
              i % own_tracked] = own[i];
      if (!std::isfinite(own[i])) ++non_finite_;
    }
  }

  void append_to(int array, UnitResult& result) const {
    const auto bytes = bytes_of(std::span<const double>(values_));
    result.blocks.push_back({array, {bytes.begin(), bytes.end()}});
    result.non_finite += non_finite_;
  }

 private:
  int64_t cells_;
  ReadingShape shape_;
  std::vector<double> values_;
  int64_t non_finite_ = 0;
};

/// All that a unit stores, in the order of the run's arrays.
class UnitBlocks {
 public:
  UnitBlocks(const ModelConfig& model, const ReadingShape& shape, int64_t prompts)
      : shape_(shape),
        base_(shape, 0, prompts),
        tokens_(prompts * shape.targets * shape.tracked, -1),
        uncapped_(prompts, 1, shape),
        heads_(prompts, int64_t{model.n_layers} * model.n_heads, shape),
        biases_(prompts, model.n_layers, shape),
        mlps_(prompts, model.n_layers, shape),
        rest_(prompts, std::ssize(kOthers), shape) {}

  void put(int64_t prompt, std::span<const ReadPoint> points, std::span<const DirectLogits> all) {
    std::vector<Reading> readings;
    for (const DirectLogits& one : all) readings.push_back(one.reading);
    base_.put(prompt, readings);
    for (size_t t = 0; t < all.size(); ++t) {
      const auto target = static_cast<int64_t>(t);
      const auto& tracked = points[t].tracked;
      std::copy(tracked.begin(), tracked.end(),
                tokens_.begin() + (prompt * shape_.targets + target) * shape_.tracked);
      const DirectLogits& one = all[t];
      const auto count = std::ssize(tracked);
      uncapped_.put(prompt, target, one.uncapped, count);
      heads_.put(prompt, target, one.heads, count);
      biases_.put(prompt, target, one.attention_biases, count);
      mlps_.put(prompt, target, one.mlps, count);
      int64_t cell = 0;
      for (const auto& part : {one.token_embedding, one.position_embedding, one.final_norm_bias,
                               one.unembedding_bias, one.remainder()})
        rest_.put(prompt, target, part, count, cell++);
    }
  }

  [[nodiscard]] UnitResult result() const {
    UnitResult result;
    base_.append_to(result);
    int array = shape_.arrays();
    const auto bytes = bytes_of(std::span<const int32_t>(tokens_));
    result.blocks.push_back({array++, {bytes.begin(), bytes.end()}});
    for (const Contributions* part : {&uncapped_, &heads_, &biases_, &mlps_, &rest_})
      part->append_to(array++, result);
    return result;
  }

 private:
  ReadingShape shape_;
  ReadingBlocks base_;
  std::vector<int32_t> tokens_;
  Contributions uncapped_, heads_, biases_, mlps_, rest_;
};

class DirectLogitAttributionRun final : public Run {
 public:
  explicit DirectLogitAttributionRun(const RunContext& context) : context_(context) {
    for (const Prompt& prompt : prompts()) {
      if (prompt.targets.empty())
        fail(ErrorKind::input,
             "prompt '{}' of set '{}' has no target, and this experiment attributes the logits of "
             "answers; give it `answer` or `targets`",
             prompt.id, context.prompts->id);
      auto& points = reads_.emplace_back();
      for (const Target& target : prompt.targets) {
        points.push_back(read_point(target));
        shape_.tracked = std::max(shape_.tracked, std::ssize(points.back().tracked));
      }
      shape_.targets = std::max(shape_.targets, std::ssize(points));
    }
  }

  [[nodiscard]] std::vector<ArraySpec> arrays() const override {
    const Axis prompt{.name = "prompt", .size = std::ssize(prompts())};
    const Axis layer{.name = "layer", .size = context_.model->n_layers};
    const Axis head{.name = "head", .size = context_.model->n_heads};
    std::vector<ArraySpec> all = reading_arrays(shape_, "base/", {prompt}, 0, false);
    ArraySpec tokens = all[1];  // logit: the same axes
    tokens.name = "base/tracked_token";
    tokens.type = ElementType::i32;
    tokens.attributes = {{"units", "token id"},
                         {"long_name", "what each tracked logit belongs to, the answer first"}};
    all.push_back(std::move(tokens));
    const auto add = [&](const std::string& name, std::vector<Axis> axes, const char* long_name) {
      if (shape_.targets > 1) axes.push_back({.name = kTargetAxis, .size = shape_.targets});
      axes.push_back({.name = "tracked", .size = shape_.tracked});
      all.push_back({.name = name,
                     .axes = std::move(axes),
                     .attributes = {{"units", "logits"}, {"long_name", long_name}}});
    };
    add("uncapped_logit", {prompt}, "tracked logits before a soft cap: the sum of contributions");
    add(kHeads.dataset(), {prompt, layer, head}, kHeads.long_name);
    add(kBiases.dataset(), {prompt, layer}, kBiases.long_name);
    add(kMlps.dataset(), {prompt, layer}, kMlps.long_name);
    add(kRest.dataset(),
        {prompt, {.name = "component", .size = std::ssize(kOthers), .labels = kOthers}},
        kRest.long_name);
    return all;
  }

  [[nodiscard]] std::vector<StageSpec> stages() const override { return {{.name = "attribution"}}; }

  [[nodiscard]] Json attributes() const override {
    return {
        {"base", "clean"},
        {"site", "z, mlp_out"},
        {"operation", "none"},
        {"positions", "the target positions"},
        {"downstream", "freeze"},
        {"estimand",
         "what each component adds to the tracked logits through the final norm and the "
         "unembedding alone, norms held at the scales of the clean run"},
        {"definition_loss", "-log softmax(logits)[answer], nats"},
        {"definition_margin", "answer logit - largest wrong logit"},
        {"definition_contribution",
         "W_U n(c): c what the component adds to the residual stream at the target, n the "
         "final norm with the scale (and the centring, where it is a layer norm) of the run's "
         "own residual, without its bias; before a soft cap"},
        {"definition_head",
         "c := z W_O of one head, without the output's bias; where attention has a norm of its "
         "own after it, through that norm with the scale of all that attention gives in this "
         "run"},
        {"definition_attention_bias", "c := the output's bias, likewise; not part of any head"},
        {"definition_mlp", "c := mlp_out, its bias and a norm after it included"},
        {"definition_difference", "answer minus the mean of the wrong ones"},
        {"definition_remainder", "the logit before a soft cap minus all contributions: rounding"}};
  }

  [[nodiscard]] double flops(int /*stage*/, int64_t prompt, int64_t /*first*/) const override {
    const ModelConfig& model = *context_.model;
    const double heads = model.n_heads;
    const double product = 2.0 * heads * model.head_size * model.d_model;
    const auto& reads = reads_[prompt];
    return base_flops(model, std::ssize(prompts()[prompt].tokens), reads, true) +
           static_cast<double>(reads.size()) * model.n_layers * heads * product;
  }

  [[nodiscard]] UnitResult execute(int /*stage*/, Range range, Range /*first*/,
                                   const UnitInputs& inputs) const override {
    std::vector<PromptTokens> tokens;
    std::vector<Task> tasks;
    for (int64_t p = range.begin; p < range.end; ++p) {
      tokens.push_back({prompts()[p].tokens, prompts()[p].corrupt_tokens});
      tasks.push_back({.prompt = static_cast<int32_t>(p - range.begin), .reads = reads_[p]});
    }
    const std::vector<DirectLogits> all = direct_logits(inputs.executor, tokens, tasks);
    UnitBlocks blocks(*context_.model, shape_, range.size());
    auto rest = std::span(all);
    for (int64_t p = range.begin; p < range.end; ++p) {
      blocks.put(p - range.begin, reads_[p], rest.first(reads_[p].size()));
      rest = rest.subspan(reads_[p].size());
    }
    return blocks.result();
  }

 private:
  [[nodiscard]] const std::vector<Prompt>& prompts() const { return context_.prompts->prompts; }

  RunContext context_;
  ReadingShape shape_;
  std::vector<std::vector<ReadPoint>> reads_;  ///< per prompt
};

class DirectLogitAttribution final : public Experiment {
 public:
  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    return Json::object();
  }
  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    return std::make_unique<DirectLogitAttributionRun>(context);
  }
};

/// The metrics of one dataset of contributions.
class PartMetrics {
 public:
  PartMetrics(const StoredRun& run, const StoredReadings& base, const Part& part)
      : part_(part),
        array_(stored_array(run, part.dataset())),
        tokens_(stored_array(run, "base/tracked_token")),
        tracked_(base.tracked),
        targets_(base.cells),
        prompts_(static_cast<int64_t>(run.templates.size())) {
    axes_.assign(array_.axes.begin() + 1, array_.axes.end() - 1);
    for (const Axis& axis : axes_) cells_ *= axis.size;
    if (std::ssize(array_.values) != prompts_ * cells_ * tracked_ || cells_ % targets_ != 0 ||
        std::ssize(tokens_.values) != prompts_ * targets_ * tracked_)
      fail(ErrorKind::input, "run '{}': the size of '{}' is wrong: the file is damaged", run.id,
           array_.name);
  }

  void append_to(std::vector<Metric>& metrics, bool headline) const {
    if (tracked_ > 1)
      metrics.push_back(metric("difference", "to the answer minus the mean of the wrong ones",
                               headline, 1,
                               [&](int64_t p, int64_t c) { return difference(p, c); }));
    for (int64_t t = 0; t < tracked_; ++t) {
      const std::string to =
          t == 0 ? std::string("to the answer's logit") : fmt::format("to wrong token {}", t);
      metrics.push_back(metric(fmt::format("logit_{}", t), to, headline && tracked_ == 1, t,
                               [&](int64_t p, int64_t c) { return value(p, c, t); }));
      metrics.back().summarised = t == 0;
    }
  }

 private:
  [[nodiscard]] double value(int64_t prompt, int64_t cell, int64_t token) const {
    return array_.values[(prompt * cells_ + cell) * tracked_ + token];
  }
  [[nodiscard]] bool is_tracked(int64_t prompt, int64_t cell, int64_t token) const {
    return tokens_.values[(prompt * targets_ + cell % targets_) * tracked_ + token] >= 0.0;
  }
  [[nodiscard]] double difference(int64_t prompt, int64_t cell) const {
    double sum = 0.0;
    int64_t wrong = 0;
    for (int64_t t = 1; t < tracked_; ++t) {
      if (!is_tracked(prompt, cell, t)) continue;
      sum += value(prompt, cell, t);
      ++wrong;
    }
    return wrong == 0 ? kNaN : value(prompt, cell, 0) - sum / static_cast<double>(wrong);
  }

  /// A metric of places where the tracked token number `needed` is there.
  template <typename Value>
  [[nodiscard]] Metric metric(const std::string& name, const std::string& to, bool headline,
                              int64_t needed, Value value_of) const {
    Metric made{.name = std::string(part_.name) + "_" + name,
                .long_name = std::string(part_.long_name) + " " + to,
                .units = "logits",
                .axes = axes_,
                .headline = headline};
    for (int64_t p = 0; p < prompts_; ++p)
      for (int64_t c = 0; c < cells_; ++c) {
        made.values.push_back(value_of(p, c));
        made.broken.push_back(!std::isfinite(made.values.back()) && is_tracked(p, c, needed));
      }
    return made;
  }

  const Part& part_;
  const StoredArray& array_;
  const StoredArray& tokens_;
  int64_t tracked_;
  int64_t targets_;
  int64_t prompts_;
  int64_t cells_ = 1;
  std::vector<Axis> axes_;
};

}  // namespace

std::unique_ptr<Experiment> parse_direct_logit_attribution(MapReader& /*reader*/) {
  return std::make_unique<DirectLogitAttribution>();
}

std::vector<Metric> derive_direct_logit_attribution(const StoredRun& run) {
  const StoredReadings base = stored_readings(run, "base/");
  std::vector<Metric> metrics;
  PartMetrics(run, base, kHeads).append_to(metrics, true);
  for (const Part* part : {&kMlps, &kBiases, &kRest})
    PartMetrics(run, base, *part).append_to(metrics, false);
  Metric loss{.name = "base_loss",
              .long_name = "loss on the answer, base run",
              .units = "nats",
              .axes = base.axes,
              .values = base.loss->values,
              .headline = false};
  metrics.push_back(std::move(loss));
  return metrics;
}

}  // namespace mechsweep
