#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/random.h"
#include "engine/executor.h"

namespace mechsweep {

/// Prompts and interventions drawn at random: every site and operation, joint edits, attention
/// edges, frozen and recomputed, ragged lengths, shared prefixes. Half of the interventions repeat,
/// continue or shorten an earlier one, with the same directions: sharing is where faults hide. The
/// self-test and the property tests run them on two executors and compare bits.
class RandomTasks {
 public:
  struct Options {
    int prompts = 8;
    int longest = 24;  ///< tokens
    int tasks = 40;
    int alphabet = 1 << 20;    ///< different tokens; few make prompts share long prefixes
    bool all_readouts = true;  ///< also ranks, top tokens, divergences, whole logits, activations
  };
  RandomTasks(const ModelConfig& config, uint64_t seed, const Options& options);
  RandomTasks(const RandomTasks&) = delete;
  RandomTasks& operator=(const RandomTasks&) = delete;

  [[nodiscard]] const std::vector<PromptTokens>& prompts() const { return prompts_; }
  [[nodiscard]] const std::vector<Task>& tasks() const { return tasks_; }

 private:
  void add_prompts(const Options& options);
  Edit random_edit(int32_t prompt);
  Site some_site();
  void choose_places(Edit& edit, int32_t length);
  void choose_values(Edit& edit, int32_t prompt);
  void add_task(const Options& options);
  int32_t below(int32_t bound) {
    return static_cast<int32_t>(random_.below(static_cast<uint32_t>(bound)));
  }
  std::vector<int32_t> some_of(int32_t population);
  std::vector<int32_t> some_positions(int32_t length);
  /// One of two directions of length 1.
  std::shared_ptr<const std::vector<float>> some_vector(int64_t width);
  std::shared_ptr<const ActivationSums> sums_of(Site site);

  const ModelConfig& config_;
  RandomStream random_;
  std::vector<std::vector<int32_t>> tokens_;  ///< clean and corrupt of each prompt in turn
  std::vector<PromptTokens> prompts_;
  std::map<std::pair<int64_t, int32_t>, std::shared_ptr<const std::vector<float>>> vectors_;
  std::map<Site, std::shared_ptr<const ActivationSums>> sums_;
  int longest_;
  std::vector<std::unique_ptr<std::vector<ReadPoint>>> reads_;
  std::vector<std::unique_ptr<std::vector<ActivationPoint>>> activations_;
  std::vector<Task> tasks_;
};

/// Whether two results are the same, bit for bit.
bool same_bits(const TaskResult& a, const TaskResult& b);

/// The largest absolute difference of losses (nats) between two sets of results.
double largest_difference(const std::vector<TaskResult>& a, const std::vector<TaskResult>& b);

}  // namespace mechsweep
