#include "engine/full_forward.h"

#include <ATen/core/grad_mode.h>

#include "model/attention.h"
#include "model/vector_math.h"

namespace mechsweep {

FullForward::FullForward(const Model& model, ThreadPool& pool,
                         std::span<const BatchSequence> sequences, const RowActions& actions,
                         AttentionObserver* observer)
    : model_(model), pool_(pool), sequences_(sequences), actions_(actions), observer_(observer) {
  const ModelConfig& config = model.config();
  const BatchSequence& last = sequences.back();
  const int64_t used = last.first_row + static_cast<int64_t>(last.tokens.size());
  const int64_t rows = round_up(used, kPanelRows);
  panels_ = rows / kPanelRows;
  positions_.assign(rows, 0);
  // Rows past the last sequence stay zero: panels are always whole.
  resid_ = at::zeros({rows, config.d_model}, at::kFloat);
  qkv_ = at::zeros({rows, int64_t{config.n_heads + 2 * config.n_kv_heads} * config.head_size},
                   at::kFloat);
  z_ = at::zeros({rows, int64_t{config.n_heads} * config.head_size}, at::kFloat);
}

int64_t FullForward::bytes_per_row(const ModelConfig& config) {
  return 4 *
         (config.d_model + int64_t{2 * config.n_heads + 2 * config.n_kv_heads} * config.head_size);
}

void FullForward::run() {
  const ModelConfig& config = model_.config();
  embed();
  const auto sequences = static_cast<int64_t>(sequences_.size());
  for (int layer = 0; layer < config.n_layers; ++layer) {
    pool_.parallel_for(panels_, [&](int64_t panel) { project_panel(layer, panel); });
    pool_.parallel_for(sequences * config.n_kv_heads, [&](int64_t job) {
      attend(layer, job / config.n_kv_heads, static_cast<int>(job % config.n_kv_heads));
    });
    pool_.parallel_for(panels_, [&](int64_t panel) { finish_panel(layer, panel); });
  }
}

const float* FullForward::resid_row(int64_t row) const {
  return resid_.const_data_ptr<float>() + row * resid_.size(1);
}

void FullForward::embed() {
  for (const BatchSequence& sequence : sequences_) {
    int32_t* positions = positions_.data() + sequence.first_row;
    for (size_t t = 0; t < sequence.tokens.size(); ++t) positions[t] = static_cast<int32_t>(t);
    model_.embed(sequence.tokens, {positions, sequence.tokens.size()},
                 resid_.mutable_data_ptr<float>() + sequence.first_row * resid_.size(1));
  }
}

at::Tensor FullForward::panel_of(const at::Tensor& rows, int64_t panel) const {
  return rows.narrow(0, panel * kPanelRows, kPanelRows);
}

void FullForward::act(int layer, Site site, int64_t panel, at::Tensor& rows) const {
  actions_.apply(layer, site, panel * kPanelRows, kPanelRows, rows.mutable_data_ptr<float>(),
                 rows.size(1));
}

void FullForward::project_panel(int layer, int64_t panel) {
  const at::NoGradGuard no_grad;
  at::Tensor resid = panel_of(resid_, panel);
  act(layer, Site::resid_pre, panel, resid);
  panel_of(qkv_, panel)
      .copy_(model_.project_qkv(layer, resid,
                                std::span(positions_).subspan(panel * kPanelRows, kPanelRows)));
}

void FullForward::attend(int layer, int64_t sequence, int kv_head) {
  const ModelConfig& config = model_.config();
  const int64_t first_row = sequences_[sequence].first_row;
  const auto tokens = static_cast<int64_t>(sequences_[sequence].tokens.size());
  const int64_t stride = qkv_.size(1);
  const int64_t size = config.head_size;
  const float* rows = qkv_.const_data_ptr<float>() + first_row * stride;
  const float* keys = rows + int64_t{config.n_heads + kv_head} * size;
  HeadCache cache;
  cache.fill(keys, keys + int64_t{config.n_kv_heads} * size, tokens, size, stride);
  const int group = config.n_heads / config.n_kv_heads;
  std::vector<float> pattern((observer_ != nullptr ? tokens : 1) * cache.key_stride);
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int64_t q = 0; q < tokens; ++q)
      attend_row(cache, rows + q * stride + head * size, q,
                 static_cast<float>(config.attention_scale),
                 pattern.data() + (observer_ != nullptr ? q * cache.key_stride : 0),
                 z_.mutable_data_ptr<float>() + (first_row + q) * z_.size(1) + head * size);
    if (observer_ != nullptr)
      observer_->observe(sequences_[sequence].task, layer, head, pattern.data(), tokens,
                         cache.key_stride);
  }
}

void FullForward::finish_panel(int layer, int64_t panel) {
  const at::NoGradGuard no_grad;
  at::Tensor z = panel_of(z_, panel);
  act(layer, Site::z, panel, z);
  at::Tensor attn_out = model_.attention_output(layer, z);
  act(layer, Site::attn_out, panel, attn_out);
  at::Tensor resid = panel_of(resid_, panel);
  resid.add_(attn_out);
  act(layer, Site::resid_mid, panel, resid);
  at::Tensor mlp_out = model_.mlp_output(layer, resid);
  act(layer, Site::mlp_out, panel, mlp_out);
  resid.add_(mlp_out);
  act(layer, Site::resid_post, panel, resid);
}

}  // namespace mechsweep
