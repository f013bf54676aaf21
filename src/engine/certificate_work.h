#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "engine/executor.h"
#include "model/checkpoint.h"

// What a certificate's checks share: prompts, tasks and what executors said of them.

namespace mechsweep {

/// Prompts with tasks on them. Owns what tasks point at.
class CertificateTasks {
 public:
  CertificateTasks() = default;
  CertificateTasks(const CertificateTasks&) = delete;
  CertificateTasks& operator=(const CertificateTasks&) = delete;

  void add_prompt(std::vector<int32_t> tokens);
  /// Gives the task's index.
  size_t add(int32_t prompt, std::vector<Edit> edits, std::vector<ReadPoint> reads,
             std::vector<ActivationPoint> activations = {});

  [[nodiscard]] const std::vector<PromptTokens>& prompts() const { return prompts_; }
  [[nodiscard]] const std::vector<Task>& tasks() const { return tasks_; }
  [[nodiscard]] int32_t length(int32_t prompt) const {
    return static_cast<int32_t>(tokens_[prompt].size());
  }
  [[nodiscard]] const std::vector<int32_t>& tokens(int32_t prompt) const { return tokens_[prompt]; }

 private:
  std::deque<std::vector<int32_t>> tokens_;
  std::vector<PromptTokens> prompts_;
  std::deque<std::vector<ReadPoint>> reads_;
  std::deque<std::vector<ActivationPoint>> activations_;
  std::vector<Task> tasks_;
};

/// Random prompts of ordinary tokens: below the vocabulary, none that the tokenizer calls special.
/// No longer than the model takes; the same for every run.
std::vector<std::vector<int32_t>> certificate_prompts(const Checkpoint& checkpoint,
                                                      std::span<const int> lengths);

/// Tokens whose logits are compared: all of a small vocabulary, else `count` random ones.
std::vector<int32_t> certificate_sample(const ModelConfig& config, int count);

/// 0, 1, ..., count - 1.
std::vector<int32_t> first_numbers(int32_t count);

/// Whether all numbers of a result are finite.
bool is_finite(const TaskResult& result);

/// A largest difference that NaN and infinity do not hide in.
class WorstDifference {
 public:
  void add(double found, double expected);
  [[nodiscard]] double largest() const { return largest_; }
  [[nodiscard]] bool non_finite() const { return non_finite_; }

 private:
  double largest_ = 0.0;
  bool non_finite_ = false;
};

}  // namespace mechsweep
