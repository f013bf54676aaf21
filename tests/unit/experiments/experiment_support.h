#pragma once

#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "core/config_node.h"
#include "core/hash.h"
#include "core/json.h"
#include "engine/executor.h"
#include "experiments/experiment.h"

// Configs, models, prompts and an executor for the tests of experiments.

namespace mechsweep::test_experiments {

/// A config node made of JSON. Entry number i of a map stands in line 10 + i, column 5; item number
/// i of a list in its list's line, column 20 + i.
inline ConfigNode node_of(const Json& json, const std::string& path = "", int line = 9,
                          int column = 1) {
  ConfigNode node;
  node.path = path;
  node.position = {"s.yaml", line, column};
  if (json.is_object()) {
    node.kind = ConfigNode::Kind::map;
    int next = 10;
    for (const auto& [key, value] : json.items()) {
      const std::string below = path.empty() ? key : path + "." + key;
      node.entries.push_back({key, {"s.yaml", next, 1}, node_of(value, below, next, 5)});
      ++next;
    }
  } else if (json.is_array()) {
    node.kind = ConfigNode::Kind::list;
    int next = 0;
    for (const Json& item : json) {
      node.items.push_back(node_of(item, fmt::format("{}[{}]", path, next), line, 20 + next));
      ++next;
    }
  } else if (!json.is_null()) {
    node.kind = ConfigNode::Kind::scalar;
    node.quoted = json.is_string() && json.get<std::string>().starts_with('\'');
    node.scalar =
        json.is_string() ? json.get<std::string>().substr(node.quoted ? 1 : 0) : json.dump();
  }
  return node;
}

/// Under a name that testing::Test does not have as well.
using RunPointer = std::unique_ptr<Run>;

/// An entry of `experiments:` without its id and kind, read the way a caller reads it.
struct ParsedExperiment {
  ConfigNode node;
  Problems problems;
  std::unique_ptr<Experiment> experiment;
  uint64_t seed = 7;
  std::string folder;
  std::function<SourceRun(const std::string&)> earlier_run;

  ParsedExperiment(const std::string& kind, const Json& json) : node(node_of(json)) {
    MapReader reader(node, problems);
    experiment = experiment_kind(kind).parse(reader);
    reader.finish();
  }
  [[nodiscard]] std::unique_ptr<Run> bind(const ModelConfig& model,
                                          const PromptSet& prompts) const {
    problems.throw_if_any();
    return experiment->bind({.run_id = "e/m/p",
                             .model = &model,
                             .prompts = &prompts,
                             .seed = seed,
                             .config_folder = folder,
                             .earlier_run = earlier_run});
  }
};

/// "usage: message" of the Error that the call throws.
template <typename Call>
std::string failure(Call call) {
  try {
    call();
  } catch (const Error& error) {
    const char* kind = error.kind() == ErrorKind::usage   ? "usage: "
                       : error.kind() == ErrorKind::input ? "input: "
                                                          : "other: ";
    return kind + std::string(error.what());
  }
  return "nothing was thrown";
}

inline ModelConfig small_model(int layers, int heads) {
  return {.architecture = "llama",
          .n_layers = layers,
          .n_heads = heads,
          .n_kv_heads = 1,
          .head_size = 4,
          .d_model = 8,
          .d_mlp = 16,
          .vocab_size = 100,
          .max_positions = 64};
}

/// Values of a block.
template <typename T>
std::vector<T> values_of(const ArrayBlock& block) {
  std::vector<T> values(block.bytes.size() / sizeof(T));
  std::memcpy(values.data(), block.bytes.data(), block.bytes.size());
  return values;
}

/// Spells out one edit: "z L1 H0,2 P1 replace clean 5,6"; `prompts[own]` is the task's prompt.
inline std::string spell_edit(std::span<const PromptTokens> prompts, int32_t own,
                              const Edit& edit) {
  std::string text = fmt::format("{} L{} H{} P{} {}", site_info(edit.site).name, edit.layer,
                                 fmt::join(edit.heads, ","), fmt::join(edit.positions, ","),
                                 operation_name(edit.operation));
  for (const auto& [query, key] : edit.edges) text += fmt::format(" {}>{}", query, key);
  if (edit.vector) text += fmt::format(" [{}]", fmt::join(*edit.vector, ","));
  if (edit.operation == Operation::add) text += fmt::format(" x{}", edit.scale);
  if (edit.sums) text += fmt::format(" of {}", fmt::join(edit.sums->counts, ","));
  if (edit.leave_out) text += " without";
  if (edit.takes_from_donor()) {
    const PromptTokens& donor = prompts[edit.donor.prompt < 0 ? own : edit.donor.prompt];
    text += fmt::format(" {} {}", side_name(edit.donor.side),
                        fmt::join(donor.side(edit.donor.side), ","));
  }
  return text;
}

/// Spells out what a task asks for: "corrupt 7,8|z L1 H0,2 P1 replace clean 5,6".
inline std::string spell(std::span<const PromptTokens> prompts, const Task& task) {
  const Intervention& asked = task.intervention;
  std::string text = fmt::format("{} {}", side_name(asked.base),
                                 fmt::join(prompts[task.prompt].side(asked.base), ","));
  for (const Edit& edit : asked.edits) text += "|" + spell_edit(prompts, task.prompt, edit);
  if (asked.downstream == Downstream::freeze) text += "|freeze";
  return text;
}

/// A number for a spelled-out task, whole and below 2^48, so that small sums with it are exact.
inline double code_of(const std::string& spelled) {
  return static_cast<double>(std::stoll(sha256_hex(spelled).substr(0, 12), nullptr, 16));
}

/// Answers without a model: logsumexp is the code of the task, a tracked token's logit is minus its
/// id, the mean logit is the position, top1 the number of tracked tokens, the answer's rank is 10
/// more than the position, KL from the clean run is 0.25 and from the corrupt run 0.5, the top
/// tokens are 0, 1, ... with their ids as logits. Number w of an activation is the token there plus
/// 100 times the layer plus w / 2.
class SpellingExecutor final : public Executor {
 public:
  explicit SpellingExecutor(const ModelConfig& config) : config_(config) {}
  [[nodiscard]] std::string_view name() const override { return "spelling"; }
  [[nodiscard]] const ModelConfig& config() const override { return config_; }

  std::vector<TaskResult> run(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                              AttentionObserver* observer) override {
    ++calls;
    std::vector<TaskResult> all;
    for (size_t i = 0; i < tasks.size(); ++i) {
      const Task& task = tasks[i];
      TaskResult result;
      asked.push_back(spell(prompts, task));
      for (const ReadPoint& point : task.reads)
        result.readings.push_back(read(point, asked.back()));
      for (const ActivationPoint& point : task.activations)
        result.activations.push_back(
            activation(point, prompts[task.prompt].side(task.intervention.base)));
      all.push_back(std::move(result));
      if (observer != nullptr)
        show_patterns(static_cast<int64_t>(i), prompts[task.prompt], *observer);
    }
    return all;
  }

  /// The tasks with edits; the others are base and donor runs.
  [[nodiscard]] std::vector<std::string> asked_edits() const {
    std::vector<std::string> edits;
    for (const std::string& task : asked)
      if (task.find('|') != std::string::npos) edits.push_back(task);
    return edits;
  }

  int calls = 0;                   ///< of run()
  std::vector<std::string> asked;  ///< every task, spelled out
  std::string broken;              ///< tasks that spell this have no finite logsumexp

  /// A[q, k] = 1000 layer + 100 head + 10 q + k, with rows that are longer than they need be.
  static float attention(int layer, int head, int64_t q, int64_t k) {
    return static_cast<float>(1000 * layer + 100 * head + 10 * q + k);
  }

 private:
  [[nodiscard]] Reading read(const ReadPoint& point, const std::string& spelled) const {
    Reading reading{.logit_mean = static_cast<double>(point.position),
                    .logsumexp = spelled == broken ? std::numeric_limits<double>::quiet_NaN()
                                                   : code_of(spelled),
                    .top1 = static_cast<int32_t>(point.tracked.size()),
                    .answer_rank = point.rank ? point.position + 10 : -1};
    for (const int32_t token : point.tracked)
      reading.tracked_logits.push_back(static_cast<float>(-token));
    for (const Side side : point.kl) reading.kl.push_back(side == Side::clean ? 0.25 : 0.5);
    for (int32_t k = 0; k < point.top_k; ++k) reading.top.emplace_back(k, static_cast<float>(k));
    return reading;
  }

  [[nodiscard]] std::vector<float> activation(const ActivationPoint& point,
                                              std::span<const int32_t> tokens) const {
    std::vector<float> values;
    for (int64_t w = 0; w < site_width(point.site, config_); ++w)
      values.push_back(static_cast<float>(tokens[point.position] + 100 * point.layer) +
                       static_cast<float>(w) / 2.0F);
    return values;
  }

  void show_patterns(int64_t task, const PromptTokens& prompt, AttentionObserver& observer) const {
    const auto tokens = std::ssize(prompt.clean);
    const int64_t stride = tokens + 3;
    std::vector<float> pattern(tokens * stride, -1e9F);
    for (int layer = 0; layer < config_.n_layers; ++layer)
      for (int head = 0; head < config_.n_heads; ++head) {
        for (int64_t q = 0; q < tokens; ++q)
          for (int64_t k = 0; k <= q; ++k) pattern[q * stride + k] = attention(layer, head, q, k);
        observer.observe(task, layer, head, pattern.data(), tokens, stride);
      }
  }

  ModelConfig config_;
};

/// Two prompts of 2 and 3 tokens; the second has two targets, and only its first has wrong ones.
inline PromptSet ragged_prompts() {
  PromptSet set{.id = "p", .kind = "file"};
  Prompt a{.id = "a", .tokens = {5, 6}, .corrupt_tokens = {5, 9}};
  a.targets = {{.at = 1, .answer = 11, .wrong = {12, 13}}};
  a.spans = {{"name", {0, 1}}};
  Prompt b{.id = "b", .tokens = {7, 8, 7}, .corrupt_tokens = {4, 8, 7}};
  b.targets = {{.at = 0, .answer = 21, .wrong = {22}}, {.at = 2, .answer = 31}};
  b.spans = {{"name", {1, 3}}};
  set.prompts = {a, b};
  return set;
}

/// Five prompts with one target each, at the last position: two of 3 tokens and one of 2 with
/// template t, two of 4 with template u.
inline PromptSet template_prompts() {
  PromptSet set{.id = "p", .kind = "file"};
  const std::vector<std::tuple<std::string, std::string, std::vector<int32_t>>> all = {
      {"a", "t", {1, 2, 3}},       {"b", "t", {4, 5, 6}},        {"c", "t", {7, 8}},
      {"d", "u", {9, 10, 11, 12}}, {"e", "u", {13, 14, 15, 16}},
  };
  for (const auto& [id, label, tokens] : all) {
    Prompt prompt{.id = id, .tokens = tokens, .template_label = label};
    prompt.targets = {{.at = static_cast<int32_t>(tokens.size()) - 1, .answer = 20, .wrong = {21}}};
    set.prompts.push_back(std::move(prompt));
  }
  return set;
}

}  // namespace mechsweep::test_experiments
