#include <new>

#include "core/error.h"
#include "engine/direct_logits.h"
#include "engine/executor.h"
#include "engine/stream_forest.h"
#include "engine/stream_rows.h"
#include "engine/unembed.h"
#include "engine/wavefront_memory.h"
#include "engine/wavefront_pass.h"
#include "model/model.h"

namespace mechsweep {

namespace {

class WavefrontExecutor final : public Executor, public DirectLogitSource {
 public:
  WavefrontExecutor(const Model& model, ThreadPool& pool, int64_t memory_bytes)
      : model_(model), pool_(pool), memory_bytes_(memory_bytes), store_(model.config()) {}

  [[nodiscard]] std::string_view name() const override { return "wavefront"; }
  [[nodiscard]] const ModelConfig& config() const override { return model_.config(); }

  std::vector<TaskResult> run(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                              AttentionObserver* observer) override {
    try {
      for (const Task& task : tasks) check_task(prompts, task, config());
      std::vector<TaskResult> results(tasks.size());
      for (size_t begin = 0; begin < tasks.size();) {
        const auto left = std::span(results).subspan(begin);
        const WavefrontChunk chunk =
            next_chunk(prompts, tasks.subspan(begin), config(), pool_.size(), memory_bytes_,
                       observer != nullptr, left);
        run_forest(*chunk.forest, tasks.subspan(begin, chunk.tasks), begin, observer,
                   left.first(chunk.tasks));
        begin += chunk.tasks;
      }
      return results;
    } catch (const std::bad_alloc&) {
      fail(ErrorKind::resource, "not enough memory for the activations; lower memory_gib");
    }
  }

  std::vector<DirectLogits> direct_logits(std::span<const PromptTokens> prompts,
                                          std::span<const Task> tasks) override {
    return attribute_logits(model_, pool_, *this, prompts, tasks);
  }

 private:
  void run_forest(const StreamForest& forest, std::span<const Task> tasks, size_t first_task,
                  AttentionObserver* observer, std::span<TaskResult> results) {
    store_.reset(forest.rows());
    WatchedStreams watched{.observer = observer, .streams = {}};
    for (size_t i = 0; observer != nullptr && i < tasks.size(); ++i)
      watched.streams.emplace_back(forest.stream_of(i), static_cast<int64_t>(first_task + i));
    WavefrontPass pass(model_, pool_, forest, store_);
    pass.run(watched);
    read(forest, pass, tasks, results);
  }

  void read(const StreamForest& forest, const WavefrontPass& pass, std::span<const Task> tasks,
            std::span<TaskResult> results) const {
    std::vector<UnembedRow> rows;
    for (size_t i = 0; i < tasks.size(); ++i)
      for (const ReadPoint& point : tasks[i].reads) {
        UnembedRow row{.resid = pass.final_row(forest.stream_of(i), point.position),
                       .point = &point,
                       .references = {}};
        for (const Side side : point.kl)
          row.references.push_back(
              pass.final_row(forest.root_of(tasks[i].prompt, side), point.position));
        rows.push_back(std::move(row));
      }
    std::vector<Reading> readings = unembed(model_, pool_, rows);
    auto next = readings.begin();
    for (size_t i = 0; i < tasks.size(); ++i)
      for (size_t r = 0; r < tasks[i].reads.size(); ++r)
        results[i].readings.push_back(std::move(*next++));
  }

  const Model& model_;
  ThreadPool& pool_;
  int64_t memory_bytes_;
  RowStore store_;
};

}  // namespace

std::unique_ptr<Executor> make_wavefront_executor(const Model& model, ThreadPool& pool,
                                                  int64_t memory_bytes) {
  return std::make_unique<WavefrontExecutor>(model, pool, memory_bytes);
}

}  // namespace mechsweep
