#include "engine/wavefront_memory.h"

#include <algorithm>

#include "core/error.h"
#include "engine/edit_values.h"
#include "engine/stream_rows.h"
#include "engine/unembed.h"
#include "model/attention.h"
#include "model/model.h"

namespace mechsweep {

namespace {

/// Bookkeeping of a stream: its edits, maps and segments.
constexpr int64_t kStreamBytes = 640;

/// What one thread holds while it computes a panel, in floats: gate, up and hidden units, their
/// partial sums, a norm, a projection; or a tile of logits.
int64_t panel_floats(const ModelConfig& config) {
  const int64_t mlp = int64_t{config.d_mlp} * (config.gated_mlp ? 3 : 2) + 10L * config.d_model;
  const int64_t qkv = int64_t{config.n_heads + 2 * config.n_kv_heads} * config.head_size;
  return kPanelRows * std::max({mlp, qkv + config.d_model, Model::kVocabTile});
}

void add_reads(WavefrontMemory& memory, const Task& task) {
  memory.reads += static_cast<int64_t>(task.reads.size());
  for (const ReadPoint& point : task.reads)
    if (needs_all_logits(point)) memory.held_logits += 1 + static_cast<int64_t>(point.kl.size());
}

}  // namespace

int64_t WavefrontMemory::bytes(const ModelConfig& config, int threads) const {
  const int64_t kv_floats = int64_t{2 * config.n_kv_heads} * config.head_size;
  const int64_t tiles = (config.vocab_size + Model::kVocabTile - 1) / Model::kVocabTile;
  const int64_t logits = std::min(held_logits * config.vocab_size * 4,
                                  kHeldLogitBytes + int64_t{8} * config.vocab_size);
  // A thread shows the patterns of a whole group of query heads together.
  const int64_t patterns = observed > 0 ? int64_t{config.n_heads / config.n_kv_heads} * observed *
                                              pattern_row_room(observed - 1)
                                        : 0;
  return rows * (RowStore::bytes_per_row(config) + 4) + shared_rows * kv_floats * 4 +
         streams * kStreamBytes + reads * (int64_t{config.d_model} * 4 + tiles * 24 + 256) +
         logits + threads * (panel_floats(config) + patterns) * 4;
}

WavefrontMemory memory_of(const StreamForest& forest, std::span<const Task> tasks) {
  WavefrontMemory memory;
  memory.rows = forest.rows();
  memory.streams = static_cast<int64_t>(forest.streams().size());
  std::vector<uint8_t> shared(forest.streams().size(), 0);
  for (const Stream& stream : forest.streams())
    for (const int other : {stream.parent, stream.prefix})
      if (other >= 0) shared[other] = 1;
  for (size_t s = 0; s < shared.size(); ++s)
    if (shared[s] != 0) memory.shared_rows += forest.streams()[s].own_positions();
  for (const Task& task : tasks) {
    add_reads(memory, task);
  }
  return memory;
}

void add_task(WavefrontMemory& memory, std::set<std::pair<int32_t, Side>>& roots,
              std::span<const PromptTokens> prompts, const Task& task) {
  const auto tokens = [&](int32_t prompt, Side side) {
    return static_cast<int64_t>(prompts[prompt].side(side).size());
  };
  const auto add_root = [&](int32_t prompt, Side side) {
    if (!roots.emplace(prompt, side).second) return;
    memory.rows += tokens(prompt, side);
    memory.shared_rows += tokens(prompt, side);
    ++memory.streams;
  };
  add_root(task.prompt, task.intervention.base);
  const int64_t length = tokens(task.prompt, task.intervention.base);
  int64_t first = length;
  for (const Edit& edit : task.intervention.edits) {
    first = std::min<int64_t>(first, first_row_of(edit));
    if (!edit.takes_from_donor()) continue;
    const auto [prompt, side] = donor_of(edit, task.prompt);
    add_root(prompt, side);
  }
  const bool frozen = task.intervention.downstream == Downstream::freeze;
  memory.rows += (length - first) * (frozen ? 2 : 1);
  memory.streams += frozen ? 2 : 1;
  add_reads(memory, task);
}

namespace {

int64_t tokens_of(std::span<const PromptTokens> prompts, const Task& task) {
  return std::ssize(prompts[task.prompt].side(task.intervention.base));
}

/// A number of tasks that should fit, from bounds that are quick to tell.
size_t guess_tasks(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                   const ModelConfig& config, int threads, int64_t memory_bytes, bool observed) {
  WavefrontMemory memory;
  std::set<std::pair<int32_t, Side>> roots;
  size_t count = 0;
  for (; count < tasks.size(); ++count) {
    add_task(memory, roots, prompts, tasks[count]);
    if (observed) memory.observed = std::max(memory.observed, tokens_of(prompts, tasks[count]));
    if (memory.bytes(config, threads) > memory_bytes) break;
  }
  return std::max<size_t>(1, count);
}

}  // namespace

WavefrontChunk next_chunk(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                          const ModelConfig& config, int threads, int64_t memory_bytes,
                          bool observed, std::span<TaskResult> results) {
  // A guess can be too large: streams where interventions part are not in it.
  for (size_t count = guess_tasks(prompts, tasks, config, threads, memory_bytes, observed);;
       count = (count + 1) / 2) {
    WavefrontChunk chunk{.tasks = count};
    const auto some = tasks.first(count);
    chunk.forest =
        std::make_unique<StreamForest>(prompts, some, config, observed, results.first(count));
    WavefrontMemory memory = memory_of(*chunk.forest, some);
    for (const Task& task : some)
      if (observed) memory.observed = std::max(memory.observed, tokens_of(prompts, task));
    chunk.bytes = memory.bytes(config, threads);
    if (chunk.bytes <= memory_bytes) return chunk;
    if (count == 1)
      fail(ErrorKind::resource,
           "one intervention on {} tokens needs {:.3f} GiB for activations and the budget is "
           "{:.3f} GiB; raise execution.memory_gib",
           tokens_of(prompts, some[0]), static_cast<double>(chunk.bytes) / kGiB,
           static_cast<double>(memory_bytes) / kGiB);
    for (TaskResult& result : results.first(count)) result = TaskResult();
  }
}

}  // namespace mechsweep
