#include <algorithm>
#include <map>
#include <new>
#include <set>

#include "core/error.h"
#include "engine/direct_logits.h"
#include "engine/executor.h"
#include "engine/full_forward.h"
#include "engine/unembed.h"
#include "model/model.h"

namespace mechsweep {

namespace {

using RunKey = std::pair<int32_t, Side>;  ///< an unedited run: prompt and side

/// Activations of donor runs, each [T, width], and attention patterns, each [T, T].
class DonorValues final : public AttentionObserver {
 public:
  explicit DonorValues(const ModelConfig& config) : config_(config) {}

  /// Makes room for what an edit takes.
  void want(const Edit& edit, RunKey run, int64_t tokens) {
    if (!edit.takes_from_donor()) return;
    if (edit.site == Site::pattern) {
      for (const int32_t head : edit.heads)
        patterns_.try_emplace({run, edit.layer, head}, tokens * tokens);
    } else {
      rows_.try_emplace({run, edit.layer, edit.site}, tokens * site_width(edit.site, config_));
    }
    runs_.insert(run);
  }

  [[nodiscard]] const std::set<RunKey>& runs() const { return runs_; }
  [[nodiscard]] const float* rows(RunKey run, int layer, Site site) const {
    return rows_.at({run, layer, site}).data();
  }
  [[nodiscard]] const std::vector<float>& pattern(RunKey run, int layer, int head) const {
    return patterns_.at({run, layer, head});
  }

  /// Has a run that begins at `first_row` copied into its places.
  void capture(RunKey run, int64_t first_row, ForwardActions& actions) {
    for (auto& [key, values] : rows_) {
      if (key.run != run) continue;
      const int64_t width = site_width(key.site, config_);
      for (int64_t t = 0; t * width < static_cast<int64_t>(values.size()); ++t)
        actions.at(key.layer, key.site).capture(first_row + t, values.data() + t * width);
    }
  }
  /// The runs of the batch that is being computed, by task number.
  void set_batch(std::vector<RunKey> batch) { batch_ = std::move(batch); }

  void observe(int64_t task, int layer, int head, const float* pattern, int64_t tokens,
               int64_t row_stride) override {
    const auto found = patterns_.find({batch_[task], layer, head});
    if (found == patterns_.end()) return;
    for (int64_t q = 0; q < tokens; ++q)
      std::copy_n(pattern + q * row_stride, q + 1, found->second.data() + q * tokens);
  }

 private:
  struct RowsKey {
    RunKey run;
    int layer;
    Site site;
    auto operator<=>(const RowsKey&) const = default;
  };
  struct PatternKey {
    RunKey run;
    int layer;
    int head;
    auto operator<=>(const PatternKey&) const = default;
  };
  const ModelConfig& config_;
  std::set<RunKey> runs_;
  std::map<RowsKey, std::vector<float>> rows_;
  std::map<PatternKey, std::vector<float>> patterns_;
  std::vector<RunKey> batch_;
};

/// The donors of one task's edits.
class TaskDonors final : public DonorSource {
 public:
  TaskDonors(const DonorValues& values, int32_t prompt, int64_t tokens, const ModelConfig& config)
      : values_(values), prompt_(prompt), tokens_(tokens), config_(config) {}

  [[nodiscard]] const float* row(const Edit& edit, Site site, int32_t position) const override {
    return values_.rows(donor_of(edit, prompt_), edit.layer, site) +
           position * site_width(site, config_);
  }
  [[nodiscard]] const float* pattern(const Edit& edit, int head, int32_t query) const override {
    return values_.pattern(donor_of(edit, prompt_), edit.layer, head).data() + query * tokens_;
  }

 private:
  const DonorValues& values_;
  int32_t prompt_;
  int64_t tokens_;
  const ModelConfig& config_;
};

/// Sequences that run together, and what happens to them.
struct Batch {
  std::vector<BatchSequence> sequences;
  ForwardActions actions;
  int64_t rows = 0;

  explicit Batch(int layers) : actions(layers) {}
  /// Its number in the batch.
  int64_t add(std::span<const int32_t> tokens, int64_t task) {
    const auto index = static_cast<int64_t>(sequences.size());
    sequences.push_back({.tokens = tokens, .first_row = rows, .task = task, .input = index});
    rows += static_cast<int64_t>(tokens.size());
    return index;
  }
};

class NaiveExecutor final : public Executor, public DirectLogitSource {
 public:
  NaiveExecutor(const Model& model, ThreadPool& pool, int64_t memory_bytes)
      : model_(model), pool_(pool) {
    // Kernels hold a few more copies of a panel than the rows' own buffers: count them twice.
    const int64_t rows = memory_bytes / (2 * FullForward::bytes_per_row(model.config()));
    max_rows_ = std::clamp<int64_t>(rows, kPanelRows, 8192);
  }

  [[nodiscard]] std::string_view name() const override { return "naive"; }
  [[nodiscard]] const ModelConfig& config() const override { return model_.config(); }

  std::vector<TaskResult> run(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
                              AttentionObserver* observer) override {
    try {
      return run_all(prompts, tasks, observer);
    } catch (const std::bad_alloc&) {
      fail(ErrorKind::resource, "not enough memory for {} rows of activations; lower memory_gib",
           max_rows_);
    }
  }

  std::vector<DirectLogits> direct_logits(std::span<const PromptTokens> prompts,
                                          std::span<const Task> tasks) override {
    return attribute_logits(model_, pool_, *this, prompts, tasks);
  }

 private:
  /// Final residual rows [T, D] of unedited runs.
  using FinalRows = std::map<RunKey, std::vector<float>>;

  std::vector<TaskResult> run_all(std::span<const PromptTokens> prompts,
                                  std::span<const Task> tasks, AttentionObserver* observer) {
    DonorValues donors(config());
    FinalRows references;
    for (const Task& task : tasks) {
      check_task(prompts, task, config());
      const auto tokens =
          static_cast<int64_t>(prompts[task.prompt].side(task.intervention.base).size());
      for (const Edit& edit : task.intervention.edits)
        donors.want(edit, donor_of(edit, task.prompt), tokens);
      for (const ReadPoint& point : task.reads)
        for (const Side side : point.kl) references[{task.prompt, side}];
    }
    run_unedited(prompts, donors, references);
    std::vector<TaskResult> results(tasks.size());
    for (size_t begin = 0; begin < tasks.size();) {
      Batch batch(config().n_layers);
      std::vector<int64_t> sequence_of;
      size_t end = begin;
      for (; end < tasks.size(); ++end) {
        if (end > begin && batch.rows + rows_of(prompts, tasks[end]) > max_rows_) break;
        sequence_of.push_back(
            add_task(prompts, tasks[end], static_cast<int64_t>(end), donors, batch, results[end]));
      }
      batch.actions.finish();
      FullForward forward(model_, pool_, batch.sequences, batch.actions, observer);
      forward.run();
      const auto of = [&](size_t task) {
        return batch.sequences[sequence_of[task - begin]].first_row;
      };
      read(forward, tasks, begin, end, of, references, results);
      begin = end;
    }
    return results;
  }

  static int64_t rows_of(std::span<const PromptTokens> prompts, const Task& task) {
    const auto tokens =
        static_cast<int64_t>(prompts[task.prompt].side(task.intervention.base).size());
    return task.intervention.downstream == Downstream::freeze ? 2 * tokens : tokens;
  }

  /// Runs every donor and reference once, for all that the tasks take from it.
  void run_unedited(std::span<const PromptTokens> prompts, DonorValues& donors,
                    FinalRows& references) const {
    std::set<RunKey> runs = donors.runs();
    for (const auto& [run, rows] : references) runs.insert(run);
    for (auto run = runs.begin(); run != runs.end();) {
      Batch batch(config().n_layers);
      std::vector<RunKey> keys;
      for (; run != runs.end(); ++run) {
        const auto tokens = prompts[run->first].side(run->second);
        if (!keys.empty() && batch.rows + static_cast<int64_t>(tokens.size()) > max_rows_) break;
        donors.capture(*run, batch.rows, batch.actions);
        batch.add(tokens, static_cast<int64_t>(keys.size()));
        keys.push_back(*run);
      }
      batch.actions.finish();
      donors.set_batch(keys);
      FullForward forward(model_, pool_, batch.sequences, batch.actions, &donors);
      forward.run();
      for (size_t i = 0; i < keys.size(); ++i) {
        const auto found = references.find(keys[i]);
        if (found == references.end()) continue;
        const BatchSequence& sequence = batch.sequences[i];
        const float* first = forward.resid_row(sequence.first_row);
        found->second.assign(
            first, first + static_cast<int64_t>(sequence.tokens.size()) * config().d_model);
      }
    }
  }

  /// Adds a task's sequence with all that happens to it; gives its number in the batch.
  int64_t add_task(std::span<const PromptTokens> prompts, const Task& task, int64_t number,
                   const DonorValues& donors, Batch& batch, TaskResult& result) const {
    const auto tokens = prompts[task.prompt].side(task.intervention.base);
    const auto length = static_cast<int64_t>(tokens.size());
    const bool frozen = task.intervention.downstream == Downstream::freeze;
    const int64_t base = frozen ? batch.add(tokens, -1) : -1;
    const int64_t index = batch.add(tokens, number);
    if (frozen) batch.sequences[index].input = base;
    const int64_t first_row = batch.sequences[index].first_row;
    const TaskDonors source(donors, task.prompt, length, config());
    for (const Edit* edit : in_compute_order(task.intervention)) {
      if (edits_attention(*edit)) {
        for (const int32_t query : queries_of(*edit))
          for (const int32_t head : edit->heads)
            change_attention(model_, *edit, source, {query, static_cast<int32_t>(length)}, head,
                             batch.actions.attention[edit->layer].at(first_row + query, head));
        continue;
      }
      for (const int32_t position : edit->positions)
        batch.actions.at(edit->layer, edit->site)
            .edit(first_row + position,
                  {.edit = edit,
                   .donor =
                       edit->takes_from_donor() ? source.row(*edit, edit->site, position) : nullptr,
                   .from_end = length - 1 - position});
    }
    for (const ActivationPoint& point : task.activations) {
      result.activations.emplace_back(site_width(point.site, config()));
      batch.actions.at(point.layer, point.site)
          .capture(first_row + point.position, result.activations.back().data());
    }
    return index;
  }

  template <typename FirstRow>
  void read(const FullForward& forward, std::span<const Task> tasks, size_t begin, size_t end,
            const FirstRow& first_row, const FinalRows& references,
            std::vector<TaskResult>& results) const {
    std::vector<UnembedRow> rows;
    for (size_t i = begin; i < end; ++i)
      for (const ReadPoint& point : tasks[i].reads) {
        UnembedRow row{.resid = forward.resid_row(first_row(i) + point.position),
                       .point = &point,
                       .references = {}};
        for (const Side side : point.kl)
          row.references.push_back(references.at({tasks[i].prompt, side}).data() +
                                   int64_t{point.position} * config().d_model);
        rows.push_back(std::move(row));
      }
    std::vector<Reading> readings = unembed(model_, pool_, rows);
    auto next = readings.begin();
    for (size_t i = begin; i < end; ++i) {
      const auto count = static_cast<std::ptrdiff_t>(tasks[i].reads.size());
      results[i].readings.assign(std::make_move_iterator(next),
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
