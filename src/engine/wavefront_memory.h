#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include "engine/executor.h"
#include "engine/stream_forest.h"
#include "model/model_config.h"

namespace mechsweep {

/// What decides how much memory a pass over some tasks takes.
struct WavefrontMemory {
  int64_t rows = 0;         ///< that streams own at the end
  int64_t shared_rows = 0;  ///< of those, rows whose keys and values are laid out for others too
  int64_t streams = 0;
  int64_t reads = 0;
  int64_t held_logits = 0;  ///< rows of whole logits that readouts want, before they are cut up
  int64_t observed = 0;     ///< tokens of the longest sequence whose patterns are shown; 0: none

  /// Bytes of activations beside the weights, on so many threads.
  [[nodiscard]] int64_t bytes(const ModelConfig& config, int threads) const;
};

/// Of a forest, exactly, and of tasks as a bound that is quick to tell: each task's rows, and every
/// unedited run once (`roots` are those seen so far).
/// Both without an observer.
WavefrontMemory memory_of(const StreamForest& forest, std::span<const Task> tasks);
void add_task(WavefrontMemory& memory, std::set<std::pair<int32_t, Side>>& roots,
              std::span<const PromptTokens> prompts, const Task& task);

/// As many tasks from the first on as a budget holds, and the streams that they need.
struct WavefrontChunk {
  size_t tasks = 0;
  std::unique_ptr<StreamForest> forest;
  int64_t bytes = 0;
};
/// `results` are the tasks' own; the chunk's ones get room for activations. Throws Error{resource}
/// with the least that would do when the first task alone is too large.
WavefrontChunk next_chunk(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                          const ModelConfig& config, int threads, int64_t memory_bytes,
                          bool observed, std::span<TaskResult> results);

inline constexpr double kGiB = 1073741824.0;

}  // namespace mechsweep
