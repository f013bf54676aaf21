#include "experiments/attention_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/hash.h"
#include "experiments/flops.h"
#include "experiments/summary.h"

namespace mechsweep {

namespace {

constexpr int kFirstOffset = -2;
constexpr int kOffsets = 5;
constexpr const char* kOffsetArray = "offset_score";
const std::vector<std::string> kBuiltIn = {"previous_token", "duplicate_token", "induction",
                                           "anti_induction"};

bool is_built_in(const std::string& name) {
  return std::find(kBuiltIn.begin(), kBuiltIn.end(), name) != kBuiltIn.end();
}

/// The pairs that a score which is not built in names: `NAME`, or `pairs.NAME` where NAME is that
/// of a built-in score.
std::string name_of_pairs(const std::string& score) {
  const std::string prefix = "pairs.";
  return score.starts_with(prefix) ? score.substr(prefix.size()) : score;
}

/// Names that datasets and axes have already, and what HDF5 takes for a path.
bool is_reserved(const std::string& name) {
  static const std::vector<std::string> kReserved = {kOffsetArray, "prompt", "layer", "head",
                                                     "offset"};
  return name.empty() || name.front() == '.' || name.find('/') != std::string::npos ||
         name.ends_with(kProfileSuffix) ||
         std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
}

struct Parameters {
  std::vector<std::string> scores;
  std::string occurrence_name;
  Occurrence occurrence = Occurrence::latest;
};

/// All scores of one prompt, reduced head by head while its patterns exist.
class ScoreObserver final : public AttentionObserver {
 public:
  /// `keys[prompt][score]`; values [prompt, score, layer, head].
  ScoreObserver(const std::vector<std::vector<ScoreKeys>>& keys, const ModelConfig& model)
      : keys_(keys), layers_(model.n_layers), heads_(model.n_heads) {
    values_.assign(keys.size() * keys.front().size() * layers_ * heads_,
                   std::numeric_limits<double>::quiet_NaN());
  }

  void observe(int64_t task, int layer, int head, const float* pattern, int64_t /*tokens*/,
               int64_t row_stride) override {
    const auto& scores = keys_[task];
    for (size_t s = 0; s < scores.size(); ++s)
      values_[index(task, static_cast<int64_t>(s), layer, head)] =
          score_of(scores[s], pattern, row_stride);
  }

  /// Scores that have queries and are no number all the same.
  [[nodiscard]] int64_t non_finite() const {
    int64_t count = 0;
    for (size_t i = 0; i < values_.size(); ++i) {
      const size_t of_prompt = i / (layers_ * heads_);
      const size_t scores = keys_.front().size();
      if (!std::isfinite(values_[i]) &&
          !keys_[of_prompt / scores][of_prompt % scores].queries.empty())
        ++count;
    }
    return count;
  }

  [[nodiscard]] double value(int64_t prompt, int64_t score, int layer, int head) const {
    return values_[index(prompt, score, layer, head)];
  }

 private:
  [[nodiscard]] int64_t index(int64_t prompt, int64_t score, int layer, int head) const {
    const auto scores = static_cast<int64_t>(keys_.front().size());
    return ((prompt * scores + score) * layers_ + layer) * heads_ + head;
  }

  const std::vector<std::vector<ScoreKeys>>& keys_;
  int64_t layers_;
  int64_t heads_;
  std::vector<double> values_;
};

class AttentionScoresRun final : public Run {
 public:
  AttentionScoresRun(const RunContext& context, Parameters parameters)
      : context_(context), parameters_(std::move(parameters)) {
    for (const std::string& name : parameters_.scores) {
      const auto& prompts = context.prompts->prompts;
      const bool has_pairs = std::any_of(prompts.begin(), prompts.end(), [&](const Prompt& prompt) {
        return prompt.pairs.contains(name_of_pairs(name));
      });
      if (!is_built_in(name) && !has_pairs)
        fail(ErrorKind::usage,
             "score '{}' is neither built in (previous_token, duplicate_token, induction, "
             "anti_induction) nor a name in the `pairs` of any prompt of set '{}'",
             name, context.prompts->id);
    }
  }

  [[nodiscard]] std::vector<ArraySpec> arrays() const override {
    const std::vector<Axis> axes = {
        {.name = "prompt", .size = static_cast<int64_t>(context_.prompts->prompts.size())},
        {.name = "layer", .size = context_.model->n_layers},
        {.name = "head", .size = context_.model->n_heads}};
    std::vector<ArraySpec> all;
    for (const std::string& name : parameters_.scores)
      all.push_back({.name = name,
                     .axes = axes,
                     .attributes = {{"units", "1"}, {"long_name", long_name(name)}}});
    ArraySpec offsets{
        .name = kOffsetArray,
        .axes = axes,
        .attributes = {{"units", "1"},
                       {"long_name", "attention to earlier occurrences of the token, shifted"}}};
    Axis offset{.name = "offset", .size = kOffsets};
    for (int i = 0; i < kOffsets; ++i) offset.coordinates.push_back(kFirstOffset + i);
    offsets.axes.push_back(std::move(offset));
    all.push_back(std::move(offsets));
    return all;
  }

  [[nodiscard]] std::vector<StageSpec> stages() const override { return {{.name = "scores"}}; }

  [[nodiscard]] Json attributes() const override {
    return {{"site", "pattern"},
            {"operation", "none"},
            {"positions", "all content queries"},
            {"base", "clean"},
            {"downstream", "recompute"},
            {"estimand", "attention pattern of every head on the clean prompts, without edits"},
            {"occurrence", parameters_.occurrence_name},
            {"query_set",
             "content positions (the prefix is never a query) that have such a key; a query whose "
             "key is the prefix does not count"},
            {"definition_previous_token", "mean over q of A[q, q-1]"},
            {"definition_duplicate_token",
             "mean over q of the sum over s in S(q) of A[q, s]; S(q): earlier positions that hold "
             "q's token"},
            {"definition_induction", "mean over q of the sum over s in S(q) of A[q, s+1], s+1 < q"},
            {"definition_anti_induction", "mean over q of the sum over s in S(q) of A[q, s-1]"},
            {"definition_offset_score", "mean over q of the sum over s in S(q) of A[q, s+offset]"},
            {"definition_pairs",
             "every other score: mean of A[q, k] over the prompt's own pairs of that name, or of "
             "NAME where the score is pairs.NAME"}};
  }

  [[nodiscard]] double flops(int /*stage*/, int64_t prompt, int64_t /*first*/) const override {
    const auto tokens = static_cast<int64_t>(context_.prompts->prompts[prompt].tokens.size());
    return forward_flops(*context_.model, tokens, 0);
  }

  [[nodiscard]] UnitResult execute(int /*stage*/, Range prompts, Range /*first*/,
                                   const UnitInputs& inputs) const override {
    std::vector<std::vector<ScoreKeys>> keys;
    std::vector<PromptTokens> tokens;
    std::vector<Task> tasks;
    for (int64_t p = prompts.begin; p < prompts.end; ++p) {
      const Prompt& prompt = context_.prompts->prompts[p];
      keys.push_back(keys_of(prompt));
      tokens.push_back({prompt.tokens, prompt.corrupt_tokens});
      tasks.push_back({.prompt = static_cast<int32_t>(p - prompts.begin)});
    }
    ScoreObserver observer(keys, *context_.model);
    (void)inputs.executor.run(tokens, tasks, &observer);
    UnitResult result = blocks_of(observer, prompts.size());
    result.non_finite = observer.non_finite();
    return result;
  }

 private:
  /// Keys of every named score, then of every offset.
  [[nodiscard]] std::vector<ScoreKeys> keys_of(const Prompt& prompt) const {
    std::vector<ScoreKeys> keys;
    for (const std::string& name : parameters_.scores) {
      if (name == "previous_token") {
        keys.push_back(previous_token_keys(prompt));
      } else if (is_built_in(name)) {
        const int offset = name == "duplicate_token" ? 0 : name == "induction" ? 1 : -1;
        keys.push_back(occurrence_keys(prompt, parameters_.occurrence, offset));
      } else {
        keys.push_back(pair_keys(prompt, name_of_pairs(name)));
      }
    }
    for (int i = 0; i < kOffsets; ++i)
      keys.push_back(occurrence_keys(prompt, parameters_.occurrence, kFirstOffset + i));
    return keys;
  }

  [[nodiscard]] UnitResult blocks_of(const ScoreObserver& observer, int64_t prompts) const {
    const auto named = static_cast<int64_t>(parameters_.scores.size());
    UnitResult result;
    const auto add = [&](int array, int64_t first_score, int64_t scores) {
      std::vector<double> values;
      for (int64_t p = 0; p < prompts; ++p)
        for (int layer = 0; layer < context_.model->n_layers; ++layer)
          for (int head = 0; head < context_.model->n_heads; ++head)
            for (int64_t s = first_score; s < first_score + scores; ++s)
              values.push_back(observer.value(p, s, layer, head));
      const auto bytes = bytes_of(std::span<const double>(values));
      result.blocks.push_back({array, {bytes.begin(), bytes.end()}});
    };
    for (int64_t s = 0; s < named; ++s) add(static_cast<int>(s), s, 1);
    add(static_cast<int>(named), named, kOffsets);
    return result;
  }

  static std::string long_name(const std::string& name) {
    if (name == "previous_token") return "attention to the previous token";
    if (name == "duplicate_token") return "attention to the earlier copy of the token";
    if (name == "induction") return "attention to the token after the earlier copy";
    if (name == "anti_induction") return "attention to the token before the earlier copy";
    return "attention over the prompts' pairs '" + name_of_pairs(name) + "'";
  }

  RunContext context_;
  Parameters parameters_;
};

class AttentionScores final : public Experiment {
 public:
  explicit AttentionScores(MapReader& reader) {
    if (const ConfigNode* node = reader.require("scores")) {
      const auto names = node_texts(*node, reader.problems());
      if (names && names->empty()) reader.problems().add(*node, "names no score");
      parameters_.scores = names.value_or(std::vector<std::string>());
      auto sorted = parameters_.scores;
      std::sort(sorted.begin(), sorted.end());
      if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
        reader.problems().add(*node, "names a score twice");
      for (const std::string& name : parameters_.scores)
        if (is_reserved(name))
          reader.problems().add(*node, fmt::format("'{}' cannot be the name of a score: rename the "
                                                   "`pairs` in the prompt file",
                                                   name));
    }
    parameters_.occurrence_name =
        reader.choice_or("occurrence", "latest", {"latest", "first", "all"});
    parameters_.occurrence = parameters_.occurrence_name == "first" ? Occurrence::first
                             : parameters_.occurrence_name == "all" ? Occurrence::all
                                                                    : Occurrence::latest;
  }

  [[nodiscard]] Json parameters(const std::string& /*config_folder*/) const override {
    return {{"scores", parameters_.scores}, {"occurrence", parameters_.occurrence_name}};
  }

  [[nodiscard]] std::unique_ptr<Run> bind(const RunContext& context) const override {
    return std::make_unique<AttentionScoresRun>(context, parameters_);
  }

 private:
  Parameters parameters_;
};

}  // namespace

std::unique_ptr<Experiment> parse_attention_scores(MapReader& reader) {
  return std::make_unique<AttentionScores>(reader);
}

std::vector<Metric> derive_attention_scores(const StoredRun& run) {
  std::vector<Metric> metrics;
  for (const StoredArray& array : run.arrays) {
    if (array.axes.empty())
      fail(ErrorKind::input, "run '{}': dataset '{}' has no axes: the file is damaged", run.id,
           array.name);
    Metric metric{.name = array.name, .units = "1"};
    metric.long_name =
        array.name == kOffsetArray ? "attention to earlier copies, shifted" : array.name + " score";
    metric.axes.assign(array.axes.begin() + 1, array.axes.end());
    metric.values = array.values;
    metrics.push_back(std::move(metric));
  }
  return metrics;
}

}  // namespace mechsweep
