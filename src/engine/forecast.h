#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/direct_logits.h"
#include "engine/executor.h"

namespace mechsweep {

/// An executor that computes nothing: it reckons, with the wavefront executor's own arithmetic,
/// how much memory the tasks would take at once. Its readings are zeros of the right shapes.
class ForecastExecutor final : public Executor, public DirectLogitSource {
 public:
  ForecastExecutor(const ModelConfig& config, int threads, int64_t memory_bytes)
      : config_(config), threads_(threads), memory_bytes_(memory_bytes) {}

  [[nodiscard]] std::string_view name() const override { return "forecast"; }
  [[nodiscard]] const ModelConfig& config() const override { return config_; }
  std::vector<TaskResult> run(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                              AttentionObserver* observer) override;
  std::vector<DirectLogits> direct_logits(std::span<const PromptTokens> prompts,
                                          std::span<const Task> tasks) override;

  /// The largest number of bytes beside the weights in any pass so far.
  [[nodiscard]] int64_t peak_bytes() const { return peak_bytes_; }
  /// Tokens of the unedited runs that are computed once more because the budget did not hold all of
  /// their prompt's tasks at once: one entry for each time.
  [[nodiscard]] const std::vector<int64_t>& repeated_runs() const { return repeated_runs_; }

 private:
  const ModelConfig& config_;
  int threads_;
  int64_t memory_bytes_;
  int64_t peak_bytes_ = 0;
  std::vector<int64_t> repeated_runs_;
};

/// How fast this machine runs a model's layers.
struct Calibration {
  double flops_per_second = 0.0;  ///< matrix products done over time taken, all threads together
  double elapsed_s = 0.0;
};

/// Measures it in seconds with one random layer of the model's widths (and at most 4,096 words):
/// head ablations on prompts of `tokens` tokens by the wavefront executor on `threads` threads.
/// Throws Error{usage} on unknown names, Error{resource} when the layer does not fit.
Calibration calibrate(const ModelConfig& config, const std::string& kernels,
                      const std::string& dtype, int64_t tokens, int threads);

}  // namespace mechsweep
