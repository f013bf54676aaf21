#include "experiments/attention_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/hash.h"
#include "experiments/flops.h"
#include "experiments/prompt_half.h"
#include "experiments/score_attributes.h"
#include "experiments/score_slots.h"

namespace mechsweep {

namespace {

/// All slots of the unit's prompts, reduced head by head while a pattern exists.
class ScoreObserver final : public AttentionObserver {
 public:
  ScoreObserver(const std::vector<PromptScores>& prompts, const ModelConfig& model)
      : prompts_(prompts),
        slots_(std::ssize(prompts.front().slots)),
        model_(model),
        layers_(model.n_layers),
        heads_(model.n_heads) {
    values_.assign(std::ssize(prompts) * slots_ * layers_ * heads_,
                   std::numeric_limits<double>::quiet_NaN());
  }

  void observe(int64_t task, int layer, int head, const float* pattern, int64_t /*tokens*/,
               int64_t row_stride) override {
    const auto& slots = prompts_[task].slots;
    const int window = model_.layer_kind(layer).window;
    for (int64_t s = 0; s < slots_; ++s)
      values_[index(task, s, layer, head)] = score_of(slots[s], pattern, row_stride, window);
  }

  /// Scores that have queries and are no number all the same.
  [[nodiscard]] int64_t non_finite() const {
    int64_t count = 0;
    for (int64_t i = 0; i < std::ssize(values_); ++i) {
      if (std::isfinite(values_[i])) continue;
      const int64_t row = i / (layers_ * heads_);
      const int window = model_.layer_kind(static_cast<int>(i / heads_ % layers_)).window;
      const auto& queries = prompts_[row / slots_].slots[row % slots_].queries;
      count += std::any_of(queries.begin(), queries.end(),
                           [&](const auto& query) { return is_within(query, window); })
                   ? 1
                   : 0;
    }
    return count;
  }

  [[nodiscard]] double value(int64_t prompt, int64_t slot, int64_t layer, int64_t head) const {
    return values_[index(prompt, slot, layer, head)];
  }
  [[nodiscard]] double mean_over_heads(int64_t prompt, int64_t slot, int64_t layer) const {
    double sum = 0.0;
    for (int64_t head = 0; head < heads_; ++head) sum += value(prompt, slot, layer, head);
    return sum / static_cast<double>(heads_);
  }

 private:
  [[nodiscard]] int64_t index(int64_t prompt, int64_t slot, int64_t layer, int64_t head) const {
    return ((prompt * slots_ + slot) * layers_ + layer) * heads_ + head;
  }

  const std::vector<PromptScores>& prompts_;
  int64_t slots_;
  const ModelConfig& model_;
  int64_t layers_;
  int64_t heads_;
  std::vector<double> values_;
};

template <typename T>
std::vector<uint8_t> bytes_as(const std::vector<double>& values) {
  const std::vector<T> converted(values.begin(), values.end());
  const auto bytes = bytes_of(std::span<const T>(converted));
  return {bytes.begin(), bytes.end()};
}

class AttentionScoresRun final : public Run {
 public:
  AttentionScoresRun(const RunContext& context, const ScoreOptions& options)
      : context_(context), slots_(context, options) {
    // A set with one template has no halves: better said now than by `reduce`.
    if (options.null && options.top_fraction < 1.0 && !options.chosen_anew)
      (void)prompts_of_half(PromptHalf::half_a, *context.prompts, context.seed);
  }

  [[nodiscard]] std::vector<ArraySpec> arrays() const override {
    std::vector<ArraySpec> specs;
    for (const ScoreArray& array : slots_.arrays()) specs.push_back(array.spec);
    return specs;
  }

  [[nodiscard]] std::vector<StageSpec> stages() const override { return {{.name = "scores"}}; }

  [[nodiscard]] Json attributes() const override {
    return score_attributes(slots_.options(), *context_.prompts);
  }

  [[nodiscard]] double flops(int /*stage*/, int64_t prompt, int64_t /*first*/) const override {
    const auto tokens = static_cast<int64_t>(context_.prompts->prompts[prompt].tokens.size());
    return forward_flops(*context_.model, tokens, 0);
  }

  [[nodiscard]] UnitResult execute(int /*stage*/, Range prompts, Range /*first*/,
                                   const UnitInputs& inputs) const override {
    std::vector<PromptScores> scores;
    std::vector<PromptTokens> tokens;
    std::vector<Task> tasks;
    for (int64_t p = prompts.begin; p < prompts.end; ++p) {
      const Prompt& prompt = context_.prompts->prompts[p];
      scores.push_back(slots_.of_prompt(p));
      tokens.push_back({prompt.tokens, prompt.corrupt_tokens});
      tasks.push_back({.prompt = static_cast<int32_t>(p - prompts.begin)});
    }
    ScoreObserver observer(scores, *context_.model);
    (void)inputs.executor.run(tokens, tasks, &observer);
    UnitResult result;
    for (const ScoreArray& array : slots_.arrays())
      result.blocks.push_back(
          {static_cast<int>(result.blocks.size()), block_of(array, observer, scores)});
    result.non_finite = observer.non_finite();
    return result;
  }

 private:
  [[nodiscard]] std::vector<uint8_t> block_of(const ScoreArray& array,
                                              const ScoreObserver& observer,
                                              const std::vector<PromptScores>& scores) const {
    std::vector<double> values;
    for (int64_t p = 0; p < std::ssize(scores); ++p) {
      if (array.layout == ScoreLayout::table) {
        const auto& row = scores[p].tables[array.first];
        values.insert(values.end(), row.begin(), row.end());
      } else if (array.layout == ScoreLayout::slot_layer ||
                 array.layout == ScoreLayout::slot_head) {
        append_slots_first(array, observer, p, values);
      } else {
        append_layers_first(array, observer, p, values);
      }
    }
    switch (array.spec.type) {
      case ElementType::i32:
        return bytes_as<int32_t>(values);
      case ElementType::f32:
        return bytes_as<float>(values);
      default:
        return bytes_as<double>(values);
    }
  }

  void append_slots_first(const ScoreArray& array, const ScoreObserver& observer, int64_t p,
                          std::vector<double>& values) const {
    for (int64_t s = array.first; s < array.first + array.slots; ++s)
      for (int layer = 0; layer < context_.model->n_layers; ++layer) {
        if (array.layout == ScoreLayout::slot_layer) {
          values.push_back(observer.mean_over_heads(p, s, layer));
          continue;
        }
        for (int head = 0; head < context_.model->n_heads; ++head)
          values.push_back(observer.value(p, s, layer, head));
      }
  }

  void append_layers_first(const ScoreArray& array, const ScoreObserver& observer, int64_t p,
                           std::vector<double>& values) const {
    const int64_t end = array.first + array.slots;
    for (int layer = 0; layer < context_.model->n_layers; ++layer) {
      if (array.layout == ScoreLayout::by_layer) {
        for (int64_t s = array.first; s < end; ++s)
          values.push_back(observer.mean_over_heads(p, s, layer));
        continue;
      }
      for (int head = 0; head < context_.model->n_heads; ++head) {
        double sum = 0.0;
        for (int64_t s = array.first; s < end; ++s) {
          sum += observer.value(p, s, layer, head);
          if (array.layout == ScoreLayout::by_head)
            values.push_back(observer.value(p, s, layer, head));
        }
        if (array.layout == ScoreLayout::slot_mean)
          values.push_back(sum / static_cast<double>(array.slots));
      }
    }
  }

  RunContext context_;
  ScoreSlots slots_;
};

class AttentionScores final : public Experiment {
 public:
  explicit AttentionScores(MapReader& reader) : options_(parse_score_options(reader)) {}

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    return options_.to_json();
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    return std::make_unique<AttentionScoresRun>(context, options_);
  }

 private:
  ScoreOptions options_;
};

}  // namespace

std::unique_ptr<Experiment> parse_attention_scores(MapReader& reader) {
  return std::make_unique<AttentionScores>(reader);
}

}  // namespace mechsweep
