#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "engine/executor.h"
#include "engine/stream_forest.h"

// Prompts and tasks for the tests of what the wavefront executor shares.

namespace mechsweep::test_engine {

inline ModelConfig four_layers() {
  return {.architecture = "llama",
          .n_layers = 4,
          .n_heads = 2,
          .n_kv_heads = 1,
          .head_size = 4,
          .d_model = 8,
          .d_mlp = 16,
          .vocab_size = 100,
          .max_positions = 64};
}

inline std::vector<int32_t> up_to(int32_t count) {
  std::vector<int32_t> positions;
  for (int32_t t = 0; t < count; ++t) positions.push_back(t);
  return positions;
}

inline Edit zero_head(int layer, int32_t head, std::vector<int32_t> positions) {
  return {.site = Site::z, .layer = layer, .heads = {head}, .positions = std::move(positions)};
}

/// A site without heads, or its head 0, from another run.
inline Edit patch(Site site, int layer, std::vector<int32_t> positions, DonorRun donor) {
  Edit edit{.site = site,
            .layer = layer,
            .positions = std::move(positions),
            .operation = Operation::replace,
            .donor = donor};
  if (site_info(site).heads != SiteHeads::none) edit.heads = {0};
  return edit;
}

inline Edit cut_edge(int layer, int32_t query, int32_t key) {
  return {.site = Site::q,
          .layer = layer,
          .heads = {0},
          .operation = Operation::cut,
          .edges = {{query, key}}};
}

class Work {
 public:
  int32_t prompt(std::vector<int32_t> clean, std::vector<int32_t> corrupt = {}) {
    tokens_.push_back(std::move(clean));
    const auto& first = tokens_.back();
    tokens_.push_back(std::move(corrupt));
    prompts_.push_back({first, tokens_.back()});
    return static_cast<int32_t>(prompts_.size()) - 1;
  }

  /// A task that reads at these positions; gives its number.
  size_t task(int32_t prompt, Intervention intervention, const std::vector<int32_t>& reads) {
    std::vector<ReadPoint> points;
    for (const int32_t position : reads) points.push_back({.position = position, .tracked = {1}});
    return task_with(prompt, std::move(intervention), std::move(points));
  }
  /// One that reads the last position.
  size_t task(int32_t prompt, std::vector<Edit> edits, Downstream downstream = {}) {
    const auto last = static_cast<int32_t>(prompts_[prompt].clean.size()) - 1;
    return task(prompt, {Side::clean, std::move(edits), downstream}, {last});
  }
  size_t task_with(int32_t prompt, Intervention intervention, std::vector<ReadPoint> reads,
                   std::vector<ActivationPoint> kept = {}) {
    reads_.push_back(std::move(reads));
    kept_.push_back(std::move(kept));
    tasks_.push_back({prompt, std::move(intervention), reads_.back(), kept_.back()});
    return tasks_.size() - 1;
  }

  /// No tasks may be added afterwards.
  [[nodiscard]] StreamForest forest(const ModelConfig& config, bool observed = false) {
    results_.assign(tasks_.size(), {});
    return {prompts_, tasks_, config, observed, results_};
  }

  [[nodiscard]] const std::vector<PromptTokens>& prompts() const { return prompts_; }
  [[nodiscard]] const std::vector<Task>& tasks() const { return tasks_; }
  /// What the forest gave room for.
  [[nodiscard]] const std::vector<TaskResult>& results() const { return results_; }

 private:
  std::deque<std::vector<int32_t>> tokens_;
  std::vector<PromptTokens> prompts_;
  std::deque<std::vector<ReadPoint>> reads_;
  std::deque<std::vector<ActivationPoint>> kept_;
  std::vector<Task> tasks_;
  std::vector<TaskResult> results_;
};

/// How many different beginnings sequences have: the rows that their unedited runs need.
inline int64_t count_beginnings(const std::vector<std::vector<int32_t>>& sequences) {
  std::set<std::vector<int32_t>> beginnings;
  for (const auto& tokens : sequences)
    for (size_t length = 1; length <= tokens.size(); ++length)
      beginnings.emplace(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(length));
  return static_cast<int64_t>(beginnings.size());
}

}  // namespace mechsweep::test_engine
