#include "engine/direct_logits.h"

#include <algorithm>

#include "core/error.h"
#include "engine/intervention.h"
#include "model/model.h"

namespace mechsweep {

namespace {

using Activations = std::span<const std::vector<float>>;

/// Rows [n, D] that follow one another, as kernels take them: at most kPanelRows.
std::vector<const float*> row_pointers(const std::vector<float>& rows, int64_t first, int64_t count,
                                       int64_t width) {
  std::vector<const float*> pointers;
  for (int64_t i = 0; i < count; ++i) pointers.push_back(rows.data() + (first + i) * width);
  return pointers;
}

/// The frozen way of one read point's residual rows to its tracked tokens.
class FrozenReadout {
 public:
  FrozenReadout(const Model& model, const ReadPoint& point, const float* final_resid)
      : model_(model), point_(point), final_resid_(final_resid) {}

  /// [n, tracked] for `rows` [n, D].
  void project(const std::vector<float>& rows, double* out) const {
    const int64_t width = model_.config().d_model;
    const auto tracked = std::ssize(point_.tracked);
    const int64_t n = std::ssize(rows) / width;
    std::vector<float> normalised(std::min(n, kPanelRows) * width);
    for (int64_t first = 0; first < n; first += kPanelRows) {
      const int64_t count = std::min(kPanelRows, n - first);
      model_.final_norm_at(final_resid_, row_pointers(rows, first, count, width),
                           normalised.data());
      model_.token_products(point_.tracked, row_pointers(normalised, 0, count, width),
                            out + first * tracked);
    }
  }

  /// What the biases after the residual stream add, [tracked] each.
  void project_biases(double* final_norm, double* unembedding) const {
    const auto tracked = std::ssize(point_.tracked);
    std::fill_n(final_norm, tracked, 0.0);
    if (const float* bias = model_.final_norm_bias())
      model_.token_products(point_.tracked, {&bias, 1}, final_norm);
    for (int64_t t = 0; t < tracked; ++t)
      unembedding[t] = model_.unembedding_bias(point_.tracked[t]);
  }

 private:
  const Model& model_;
  const ReadPoint& point_;
  const float* final_resid_;
};

/// What each head of a layer adds to the residual stream at one row, then what the biases add:
/// [H + 1, D].
std::vector<float> attention_rows(const Model& model, int layer, const std::vector<float>& z) {
  const ModelConfig& config = model.config();
  const int64_t heads = config.n_heads;
  const int64_t size = config.head_size;
  const int64_t width = config.d_model;
  std::vector<float> alone(heads * heads * size, 0.0F);  // row h: z of head h, the others zero
  for (int64_t h = 0; h < heads; ++h)
    std::copy_n(z.data() + h * size, size, alone.data() + (h * heads + h) * size);
  std::vector<float> rows((heads + 1) * width, 0.0F);
  for (int64_t first = 0; first < heads; first += kPanelRows)
    model.attention_product(
        layer, row_pointers(alone, first, std::min(kPanelRows, heads - first), heads * size),
        rows.data() + first * width);
  float* biases = rows.data() + heads * width;
  const float* bias = model.attention_bias(layer);
  if (bias != nullptr) std::copy_n(bias, width, biases);
  if (!model.has_attention_post_norm(layer)) return rows;
  std::vector<float> whole(width);
  const float* z_row = z.data();
  model.attention_product(layer, {&z_row, 1}, whole.data());
  for (int64_t d = 0; bias != nullptr && d < width; ++d) whole[d] += bias[d];
  std::vector<float> normalised(rows.size());
  for (int64_t first = 0; first <= heads; first += kPanelRows)
    model.attention_post_norm_at(
        layer, whole.data(),
        row_pointers(rows, first, std::min(kPanelRows, heads + 1 - first), width),
        normalised.data() + first * width);
  const float* post_bias = model.attention_post_norm_bias(layer);
  for (int64_t d = 0; post_bias != nullptr && d < width; ++d)
    normalised[heads * width + d] += post_bias[d];
  return normalised;
}

/// A read point of a run with what was kept for it.
struct Read {
  const Task* task = nullptr;
  const ReadPoint* point = nullptr;
  int32_t token = 0;
  Activations kept;
  DirectLogits* out = nullptr;
};

void attribute_layer(const Model& model, const Read& read, int layer) {
  const ModelConfig& config = model.config();
  const auto tracked = std::ssize(read.point->tracked);
  const FrozenReadout readout(model, *read.point, read.kept.back().data());
  const std::vector<float> rows = attention_rows(model, layer, read.kept[2 * layer]);
  std::vector<double> values((config.n_heads + 1) * tracked);
  readout.project(rows, values.data());
  const int64_t heads = config.n_heads * tracked;
  std::copy_n(values.begin(), heads, read.out->heads.begin() + layer * heads);
  std::copy_n(values.begin() + heads, tracked,
              read.out->attention_biases.begin() + layer * tracked);
  readout.project(read.kept[2 * layer + 1], read.out->mlps.data() + layer * tracked);
}

void attribute_rest(const Model& model, const Read& read) {
  const std::vector<float>& final_resid = read.kept.back();
  const FrozenReadout readout(model, *read.point, final_resid.data());
  std::vector<float> row(model.config().d_model);
  model.embed_token(read.token, row.data());
  readout.project(row, read.out->token_embedding.data());
  model.embed_position(read.point->position, row.data());
  readout.project(row, read.out->position_embedding.data());
  readout.project_biases(read.out->final_norm_bias.data(), read.out->unembedding_bias.data());
  readout.project(final_resid, read.out->uncapped.data());
  for (size_t t = 0; t < read.out->uncapped.size(); ++t)
    read.out->uncapped[t] += read.out->final_norm_bias[t] + read.out->unembedding_bias[t];
}

int64_t held_bytes(const Task& task, const ModelConfig& config) {
  int64_t floats = 0;
  for (const ReadPoint& point : task.reads)
    for (const ActivationPoint& kept : direct_activations(point, config))
      floats += site_width(kept.site, config);
  return floats * static_cast<int64_t>(sizeof(float));
}

/// Some tasks: runs them, then fills the entries of their reads.
void attribute(const Model& model, ThreadPool& pool, Executor& executor,
               std::span<const PromptTokens> prompts, std::span<const Task> tasks,
               std::span<DirectLogits> out) {
  const ModelConfig& config = model.config();
  std::vector<std::vector<ActivationPoint>> points;
  std::vector<Task> keeping(tasks.begin(), tasks.end());
  for (Task& task : keeping) {
    ensure(task.intervention.edits.empty(), "components of edited runs are not defined");
    auto& own = points.emplace_back();
    for (const ReadPoint& point : task.reads) {
      const auto kept = direct_activations(point, config);
      own.insert(own.end(), kept.begin(), kept.end());
    }
  }
  for (size_t i = 0; i < keeping.size(); ++i) keeping[i].activations = points[i];
  auto results = executor.run(prompts, keeping);
  std::vector<Read> reads;
  for (size_t i = 0; i < keeping.size(); ++i) {
    const auto tokens = prompts[keeping[i].prompt].side(keeping[i].intervention.base);
    const int64_t each = 2 * config.n_layers + 1;
    for (size_t r = 0; r < keeping[i].reads.size(); ++r) {
      const ReadPoint& point = keeping[i].reads[r];
      DirectLogits& entry = out[reads.size()];
      entry = empty_direct_logits(point, config);
      entry.reading = std::move(results[i].readings[r]);
      reads.push_back(
          {.task = &keeping[i],
           .point = &point,
           .token = tokens[point.position],
           .kept =
               Activations(results[i].activations).subspan(static_cast<int64_t>(r) * each, each),
           .out = &entry});
    }
  }
  const int64_t jobs = config.n_layers + 1;
  pool.parallel_for(std::ssize(reads) * jobs, [&](int64_t job) {
    const Read& read = reads[job / jobs];
    const auto layer = static_cast<int>(job % jobs);
    if (layer < config.n_layers) {
      attribute_layer(model, read, layer);
    } else {
      attribute_rest(model, read);
    }
  });
}

}  // namespace

std::vector<double> DirectLogits::remainder() const {
  std::vector<double> rest = uncapped;
  const auto tracked = std::ssize(rest);
  for (const auto* parts : {&token_embedding, &position_embedding, &heads, &attention_biases, &mlps,
                            &final_norm_bias, &unembedding_bias})
    for (int64_t i = 0; i < std::ssize(*parts); ++i) rest[i % tracked] -= (*parts)[i];
  return rest;
}

std::vector<ActivationPoint> direct_activations(const ReadPoint& point, const ModelConfig& config) {
  std::vector<ActivationPoint> points;
  for (int layer = 0; layer < config.n_layers; ++layer) {
    points.push_back({Site::z, layer, point.position});
    points.push_back({Site::mlp_out, layer, point.position});
  }
  points.push_back({Site::resid_post, config.n_layers - 1, point.position});
  return points;
}

DirectLogits empty_direct_logits(const ReadPoint& point, const ModelConfig& config) {
  const size_t tracked = point.tracked.size();
  DirectLogits empty;
  for (auto* values : {&empty.token_embedding, &empty.position_embedding, &empty.final_norm_bias,
                       &empty.unembedding_bias, &empty.uncapped})
    values->resize(tracked);
  empty.heads.resize(config.n_layers * config.n_heads * tracked);
  empty.attention_biases.resize(config.n_layers * tracked);
  empty.mlps.resize(config.n_layers * tracked);
  return empty;
}

std::vector<DirectLogits> attribute_logits(const Model& model, ThreadPool& pool, Executor& executor,
                                           std::span<const PromptTokens> prompts,
                                           std::span<const Task> tasks) {
  size_t reads = 0;
  for (const Task& task : tasks) reads += task.reads.size();
  std::vector<DirectLogits> all(reads);
  size_t done = 0;
  for (size_t begin = 0; begin < tasks.size();) {
    size_t end = begin;
    size_t own_reads = 0;
    int64_t bytes = 0;
    do {
      own_reads += tasks[end].reads.size();
      bytes += held_bytes(tasks[end], model.config());
      ++end;
    } while (end < tasks.size() &&
             bytes + held_bytes(tasks[end], model.config()) <= kHeldComponentBytes);
    attribute(model, pool, executor, prompts, tasks.subspan(begin, end - begin),
              std::span(all).subspan(done, own_reads));
    done += own_reads;
    begin = end;
  }
  return all;
}

std::vector<DirectLogits> direct_logits(Executor& executor, std::span<const PromptTokens> prompts,
                                        std::span<const Task> tasks) {
  auto* source = dynamic_cast<DirectLogitSource*>(&executor);
  if (source == nullptr)
    fail(ErrorKind::usage, "executor '{}' cannot attribute logits to components; use wavefront",
         executor.name());
  return source->direct_logits(prompts, tasks);
}

}  // namespace mechsweep
