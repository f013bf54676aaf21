#include <algorithm>
#include <map>
#include <new>
#include <set>

#include "core/error.h"
#include "engine/executor.h"
#include "engine/full_forward.h"
#include "engine/unembed.h"
#include "model/model.h"

namespace mechsweep {

namespace {

/// An activation of a donor run: prompt, side, layer, site.
struct DonorKey {
  int32_t prompt;
  Side side;
  int layer;
  Site site;
  auto operator<=>(const DonorKey&) const = default;
};
using DonorValues = std::map<DonorKey, std::vector<float>>;  ///< each [T, width]

bool all_below(std::span<const int32_t> numbers, int64_t bound) {
  return std::all_of(numbers.begin(), numbers.end(),
                     [&](int32_t number) { return number >= 0 && number < bound; });
}

/// Tasks come from our own code: one that points outside its prompt or model is a fault of ours,
/// and must not become a silent nothing.
void check_task(std::span<const PromptTokens> prompts, const Task& task,
                const ModelConfig& config) {
  const PromptTokens& prompt = prompts[task.prompt];
  const auto length = static_cast<int64_t>(prompt.side(task.intervention.base).size());
  ensure(length > 0, "a task runs a side that its prompt does not have");
  for (const ReadPoint& point : task.reads) {
    ensure(all_below({&point.position, 1}, length), "a task reads outside its prompt");
    ensure(all_below(point.tracked, config.vocab_size), "a task tracks an unknown token");
  }
  for (const Edit& edit : task.intervention.edits) {
    ensure(edit.layer >= 0 && edit.layer < config.n_layers, "an edit is outside the layers");
    ensure(all_below(edit.positions, length), "an edit is outside its prompt");
    ensure(edit.heads.empty() != site_info(edit.site).per_head &&
               all_below(edit.heads, config.n_heads),
           "an edit's heads do not fit its site");
    ensure(edit.operation != Operation::replace ||
               static_cast<int64_t>(prompt.side(edit.donor).size()) == length,
           "an edit's donor run is missing or has another length");
  }
}

class NaiveExecutor final : public Executor {
 public:
  NaiveExecutor(const Model& model, ThreadPool& pool, int64_t memory_bytes)
      : model_(model), pool_(pool) {
    // Kernels hold a few more copies of a panel than the rows' own buffers: count them twice.
    const int64_t rows = memory_bytes / (2 * FullForward::bytes_per_row(model.config()));
    max_rows_ = std::clamp<int64_t>(rows, kPanelRows, 8192);
  }

  [[nodiscard]] std::string_view name() const override { return "naive"; }
  [[nodiscard]] const ModelConfig& config() const override { return model_.config(); }

  std::vector<std::vector<Reading>> run(std::span<const PromptTokens> prompts,
                                        std::span<const Task> tasks,
                                        AttentionObserver* observer) override {
    try {
      return run_all(prompts, tasks, observer);
    } catch (const std::bad_alloc&) {
      fail(ErrorKind::resource, "not enough memory for {} rows of activations; lower memory_gib",
           max_rows_);
    } catch (const c10::Error& error) {
      fail(ErrorKind::resource, "the tensor library failed: {}", error.what_without_backtrace());
    }
  }

 private:
  std::vector<std::vector<Reading>> run_all(std::span<const PromptTokens> prompts,
                                            std::span<const Task> tasks,
                                            AttentionObserver* observer) {
    for (const Task& task : tasks) check_task(prompts, task, model_.config());
    const DonorValues donors = run_donors(prompts, tasks);
    std::vector<std::vector<Reading>> readings(tasks.size());
    size_t begin = 0;
    while (begin < tasks.size()) {
      std::vector<BatchSequence> batch;
      RowActions actions;
      size_t end = begin;
      int64_t rows = 0;
      for (; end < tasks.size(); ++end) {
        const Task& task = tasks[end];
        const auto tokens = prompts[task.prompt].side(task.intervention.base);
        if (end > begin && rows + static_cast<int64_t>(tokens.size()) > max_rows_) break;
        batch.push_back({tokens, rows, static_cast<int64_t>(end)});
        for (const Edit& edit : task.intervention.edits)
          add_edit(edit, task.prompt, rows, donors, actions);
        rows += static_cast<int64_t>(tokens.size());
      }
      actions.finish();
      FullForward forward(model_, pool_, batch, actions, observer);
      forward.run();
      read(forward, batch, tasks, readings);
      begin = end;
    }
    return readings;
  }

  void add_edit(const Edit& edit, int32_t prompt, int64_t first_row, const DonorValues& donors,
                RowActions& actions) const {
    const int64_t width = site_width(edit.site, model_.config());
    const int64_t size = model_.config().head_size;
    const bool per_head = site_info(edit.site).per_head;
    const float* donor = nullptr;
    if (edit.operation == Operation::replace)
      donor = donors.at({prompt, edit.donor, edit.layer, edit.site}).data();
    const auto add = [&](int64_t position, int64_t column, int64_t count) {
      RowAction action{.kind = donor != nullptr ? RowAction::Kind::write : RowAction::Kind::zero,
                       .row = first_row + position,
                       .column = column,
                       .count = count};
      if (donor != nullptr) action.source = donor + position * width + column;
      actions.add(edit.layer, edit.site, action);
    };
    for (const int32_t position : edit.positions) {
      if (!per_head) add(position, 0, width);
      for (const int32_t head : edit.heads) add(position, head * size, size);
    }
  }

  /// Runs every donor once for all activations that the tasks take from it.
  DonorValues run_donors(std::span<const PromptTokens> prompts, std::span<const Task> tasks) const {
    DonorValues values;
    std::set<std::pair<int32_t, Side>> runs;
    for (const Task& task : tasks)
      for (const Edit& edit : task.intervention.edits)
        if (edit.operation == Operation::replace) {
          const DonorKey key{task.prompt, edit.donor, edit.layer, edit.site};
          const auto tokens = prompts[task.prompt].side(edit.donor);
          values.try_emplace(key, tokens.size() * site_width(edit.site, model_.config()));
          runs.emplace(task.prompt, edit.donor);
        }
    for (auto run = runs.begin(); run != runs.end();) {
      std::vector<BatchSequence> batch;
      RowActions actions;
      int64_t rows = 0;
      for (; run != runs.end(); ++run) {
        const auto tokens = prompts[run->first].side(run->second);
        if (rows > 0 && rows + static_cast<int64_t>(tokens.size()) > max_rows_) break;
        batch.push_back({tokens, rows, 0});
        add_captures(run->first, run->second, rows, values, actions);
        rows += static_cast<int64_t>(tokens.size());
      }
      actions.finish();
      FullForward(model_, pool_, batch, actions, nullptr).run();
    }
    return values;
  }

  void add_captures(int32_t prompt, Side side, int64_t first_row, DonorValues& values,
                    RowActions& actions) const {
    for (auto& [key, buffer] : values) {
      if (key.prompt != prompt || key.side != side) continue;
      const int64_t width = site_width(key.site, model_.config());
      for (int64_t t = 0; t * width < static_cast<int64_t>(buffer.size()); ++t)
        actions.add(key.layer, key.site,
                    {.kind = RowAction::Kind::capture,
                     .row = first_row + t,
                     .column = 0,
                     .count = width,
                     .destination = buffer.data() + t * width});
    }
  }

  void read(const FullForward& forward, std::span<const BatchSequence> batch,
            std::span<const Task> tasks, std::vector<std::vector<Reading>>& readings) const {
    std::vector<UnembedRow> rows;
    for (const BatchSequence& sequence : batch)
      for (const ReadPoint& point : tasks[sequence.task].reads)
        rows.push_back({forward.resid_row(sequence.first_row + point.position), point.tracked});
    if (rows.empty()) return;
    std::vector<Reading> all = unembed(model_, pool_, rows);
    auto next = all.begin();
    for (const BatchSequence& sequence : batch) {
      const auto count = static_cast<std::ptrdiff_t>(tasks[sequence.task].reads.size());
      readings[sequence.task].assign(std::make_move_iterator(next),
                                     std::make_move_iterator(next + count));
      next += count;
    }
  }

  const Model& model_;
  ThreadPool& pool_;
  int64_t max_rows_;
};

}  // namespace

std::unique_ptr<Executor> make_naive_executor(const Model& model, ThreadPool& pool,
                                              int64_t memory_bytes) {
  return std::make_unique<NaiveExecutor>(model, pool, memory_bytes);
}

}  // namespace mechsweep
