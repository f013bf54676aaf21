#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "engine/intervention.h"
#include "engine/readout.h"
#include "model/model_config.h"

namespace mechsweep {

class Model;

/// The token sequences of one prompt, as the engine needs them.
struct PromptTokens {
  std::span<const int32_t> clean;
  std::span<const int32_t> corrupt;  ///< empty, or as long as clean

  [[nodiscard]] std::span<const int32_t> side(Side which) const {
    return which == Side::clean ? clean : corrupt;
  }
};

/// One thing to compute: a prompt under an intervention, and what to read.
struct Task {
  int32_t prompt = 0;  ///< index into the prompts given with it
  Intervention intervention;
  std::span<const ReadPoint> reads;
  std::span<const ActivationPoint> activations;
};

struct TaskResult {
  std::vector<Reading> readings;                ///< in the order of Task::reads
  std::vector<std::vector<float>> activations;  ///< in the order of Task::activations
};

/// Sees attention patterns while they exist; they are never kept. Called from several threads, each
/// (task, layer, head) once.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  /// `pattern` [T, T]: row q holds the probabilities of keys 0..q and zeros; rows lie `row_stride`
  /// floats apart.
  virtual void observe(int64_t task, int layer, int head, const float* pattern, int64_t tokens,
                       int64_t row_stride) = 0;
};

/// Runs interventions. Implementations differ in how much they compute, never in a bit of what they
/// return; a task's result does not depend on the other tasks, their order, the memory budget or
/// the number of threads.
class Executor {
 public:
  virtual ~Executor() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual const ModelConfig& config() const = 0;

  /// One result a task. `observer` (may be null) sees every attention pattern. Throws
  /// Error{resource} when the memory budget or the memory is too small.
  virtual std::vector<TaskResult> run(std::span<const PromptTokens> prompts,
                                      std::span<const Task> tasks,
                                      AttentionObserver* observer = nullptr) = 0;
};

/// Every intervention as a whole forward pass, all rows of every layer: the permanent oracle.
/// `memory_bytes` bounds the activations in flight (at least one sequence is always run).
std::unique_ptr<Executor> make_naive_executor(const Model& model, ThreadPool& pool,
                                              int64_t memory_bytes);

/// All interventions in one pass over the layers, computing only the rows that an edit can have
/// changed (docs/engine.md). `memory_bytes` bounds the activations in flight; Error{resource} names
/// the least that would do.
std::unique_ptr<Executor> make_wavefront_executor(const Model& model, ThreadPool& pool,
                                                  int64_t memory_bytes);

}  // namespace mechsweep
