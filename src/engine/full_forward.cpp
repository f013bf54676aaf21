#include "engine/full_forward.h"

#include <algorithm>

#include "model/attention.h"
#include "model/row_kernels.h"

namespace mechsweep {

namespace {

int64_t count_rows(std::span<const BatchSequence> sequences) {
  int64_t rows = 0;
  for (const BatchSequence& sequence : sequences)
    rows += static_cast<int64_t>(sequence.tokens.size());
  return rows;
}

}  // namespace

void ForwardActions::finish() {
  for (auto& layer : sites)
    for (SiteHooks& hooks : layer) hooks.finish();
}

FullForward::FullForward(const Model& model, ThreadPool& pool,
                         std::span<const BatchSequence> sequences, const ForwardActions& actions,
                         AttentionObserver* observer)
    : model_(model),
      pool_(pool),
      sequences_(sequences),
      actions_(actions),
      observer_(observer),
      rows_(count_rows(sequences)),
      panels_((rows_ + kPanelRows - 1) / kPanelRows),
      resid_(rows_, model.config().d_model),
      qkv_(rows_, int64_t{model.config().n_heads + 2 * model.config().n_kv_heads} *
                      model.config().head_size),
      z_(rows_, int64_t{model.config().n_heads} * model.config().head_size),
      out_(rows_, model.config().d_model),
      mlp_out_(model.config().parallel_residual ? rows_ : 0, model.config().d_model) {
  for (const BatchSequence& sequence : sequences)
    for (size_t t = 0; t < sequence.tokens.size(); ++t) {
      places_.push_back({static_cast<int32_t>(t), static_cast<int32_t>(sequence.tokens.size())});
      input_rows_.push_back(sequences[sequence.input].first_row + static_cast<int64_t>(t));
    }
}

int64_t FullForward::bytes_per_row(const ModelConfig& config) {
  return 4 * (int64_t{config.parallel_residual ? 3 : 2} * config.d_model +
              int64_t{2 * config.n_heads + 2 * config.n_kv_heads} * config.head_size);
}

void FullForward::run() {
  embed();
  for (int layer = 0; layer < model_.config().n_layers; ++layer) run_layer(layer);
}

void FullForward::run_layer(int layer) {
  const int kv_heads = model_.config().n_kv_heads;
  const auto each_panel = [&](const auto& phase) {
    pool_.parallel_for(panels_, [&](int64_t panel) { phase(panel); });
  };
  edit_inputs(layer);
  each_panel([&](int64_t panel) { project(layer, panel); });
  pool_.parallel_for(static_cast<int64_t>(sequences_.size()) * kv_heads, [&](int64_t job) {
    attend_head(layer, job / kv_heads, static_cast<int>(job % kv_heads));
  });
  // A frozen sequence reads its base run's rows, so no row moves on before all have been read.
  const bool parallel = model_.config().parallel_residual;
  Buffer& mlp_out = parallel ? mlp_out_ : out_;
  if (parallel) each_panel([&](int64_t panel) { mlp(layer, panel, mlp_out); });
  each_panel([&](int64_t panel) { attention_output(layer, panel); });
  each_panel([&](int64_t panel) { add_sublayer(layer, out_, Site::resid_mid, panel); });
  if (!parallel) each_panel([&](int64_t panel) { mlp(layer, panel, mlp_out); });
  each_panel([&](int64_t panel) { add_sublayer(layer, mlp_out, Site::resid_post, panel); });
}

const float* FullForward::resid_row(int64_t row) const {
  return resid_.row(row);
}

void FullForward::embed() {
  for (const BatchSequence& sequence : sequences_)
    for (size_t t = 0; t < sequence.tokens.size(); ++t)
      model_.embed(sequence.tokens[t], static_cast<int32_t>(t),
                   resid_.row(sequence.first_row + static_cast<int64_t>(t)));
}

int64_t FullForward::rows_in(int64_t panel) const {
  return std::min(kPanelRows, rows_ - panel * kPanelRows);
}

std::vector<const float*> FullForward::rows_of(const Buffer& buffer, int64_t panel,
                                               bool input) const {
  std::vector<const float*> rows;
  for (int64_t row = panel * kPanelRows; row < panel * kPanelRows + rows_in(panel); ++row)
    rows.push_back(buffer.row(input ? input_rows_[row] : row));
  return rows;
}

void FullForward::hook_row(int layer, Site site, int64_t row, float* values) {
  actions_.sites[layer][static_cast<size_t>(site)].apply(model_, row, values,
                                                         site_width(site, model_.config()));
}

/// `rows` holds the panel's own rows only.
void FullForward::hook_panel(int layer, Site site, int64_t panel, Buffer& rows) {
  for (int64_t i = 0; i < rows_in(panel); ++i)
    hook_row(layer, site, panel * kPanelRows + i, rows.row(i));
}

void FullForward::edit_inputs(int layer) {
  for (int64_t row = 0; row < rows_; ++row) hook_row(layer, Site::resid_pre, row, resid_.row(row));
}

void FullForward::project(int layer, int64_t panel) {
  const ModelConfig& config = model_.config();
  const int64_t first = panel * kPanelRows;
  model_.project_qkv(layer, rows_of(resid_, panel, true), qkv_.row(first));
  const int64_t keys = int64_t{config.n_heads} * config.head_size;
  const int64_t values = keys + int64_t{config.n_kv_heads} * config.head_size;
  for (int64_t row = first; row < first + rows_in(panel); ++row) {
    float* qkv = qkv_.row(row);
    hook_row(layer, Site::q, row, qkv);
    hook_row(layer, Site::k, row, qkv + keys);
    hook_row(layer, Site::v, row, qkv + values);
    model_.rotate(layer, qkv, config.n_heads + config.n_kv_heads, places_[row]);
  }
}

void FullForward::attend_head(int layer, int64_t sequence, int kv_head) {
  const ModelConfig& config = model_.config();
  const int64_t first_row = sequences_[sequence].first_row;
  const auto tokens = static_cast<int64_t>(sequences_[sequence].tokens.size());
  const int64_t size = config.head_size;
  const int64_t keys = int64_t{config.n_heads + kv_head} * size;
  std::vector<const float*> rows(tokens);
  for (int64_t t = 0; t < tokens; ++t) rows[t] = qkv_.row(first_row + t);
  HeadCache cache;
  cache.fill(rows, keys, keys + int64_t{config.n_kv_heads} * size, size);
  const KeySegment segment = {.cache = &cache, .from = 0, .begin = 0, .end = tokens};
  const int group = config.n_heads / config.n_kv_heads;
  const int64_t stride = cache.key_stride;
  const bool observed = observer_ != nullptr && sequences_[sequence].task >= 0;
  std::vector<float> patterns(observed ? group * tokens * stride : 0);
  AttentionScratch scratch;
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<AttentionQuery> queries;
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
      queries.push_back({.query = rows[t] + head * size,
                         .change = actions_.attention[layer].find(first_row + t, head),
                         .out = z_.row(first_row + t) + head * size});
    AttentionPlace place = model_.attention_place(layer, t);
    place.keys = {&segment, 1};
    attend(place, queries, scratch);
    for (int i = 0; observed && i < group; ++i)
      std::copy_n(scratch.row(i), t + 1, patterns.data() + (i * tokens + t) * stride);
  }
  for (int i = 0; observed && i < group; ++i)
    observer_->observe(sequences_[sequence].task, layer, kv_head * group + i,
                       patterns.data() + i * tokens * stride, tokens, stride);
}

void FullForward::attention_output(int layer, int64_t panel) {
  const int64_t first = panel * kPanelRows;
  for (int64_t row = first; row < first + rows_in(panel); ++row)
    hook_row(layer, Site::z, row, z_.row(row));
  model_.attention_output(layer, rows_of(z_, panel, false), out_.row(first));
  for (int64_t row = first; row < first + rows_in(panel); ++row)
    hook_row(layer, Site::attn_out, row, out_.row(row));
}

void FullForward::add_sublayer(int layer, const Buffer& added, Site after, int64_t panel) {
  for (int64_t row = panel * kPanelRows; row < panel * kPanelRows + rows_in(panel); ++row) {
    add_row(added.row(row), added.width, resid_.row(row));
    hook_row(layer, after, row, resid_.row(row));
  }
}

void FullForward::mlp(int layer, int64_t panel, Buffer& out) {
  const ModelConfig& config = model_.config();
  const int64_t first = panel * kPanelRows;
  Buffer input(rows_in(panel), config.d_model);
  Buffer normalised(rows_in(panel), config.d_model);
  Buffer hidden(rows_in(panel), config.d_mlp);
  const auto pointers = [&](const Buffer& buffer) {
    std::vector<const float*> rows;
    for (int64_t i = 0; i < rows_in(panel); ++i) rows.push_back(buffer.row(i));
    return rows;
  };
  const std::vector<const float*> read = rows_of(resid_, panel, true);
  for (int64_t i = 0; i < rows_in(panel); ++i) std::copy_n(read[i], input.width, input.row(i));
  hook_panel(layer, Site::mlp_in, panel, input);
  model_.mlp_norm(layer, pointers(input), normalised.row(0));
  hook_panel(layer, Site::mlp_norm, panel, normalised);
  model_.mlp_hidden(layer, pointers(normalised), hidden.row(0));
  hook_panel(layer, Site::mlp_hidden, panel, hidden);
  model_.mlp_output(layer, pointers(hidden), out.row(first));
  for (int64_t row = first; row < first + rows_in(panel); ++row)
    hook_row(layer, Site::mlp_out, row, out.row(row));
}

}  // namespace mechsweep
