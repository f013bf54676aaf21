#include "engine/wavefront_pass.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "model/row_kernels.h"

namespace mechsweep {

// The matrix products of a pass, panel by panel.

namespace {

/// What a thread works in while it computes a panel, to be used again and again.
class PanelRoom {
 public:
  float* normalised(int64_t floats) { return grown(normalised_, floats); }
  float* hidden(int64_t floats) { return grown(hidden_, floats); }
  float* out(int64_t floats) { return grown(out_, floats); }
  float* other(int64_t floats) { return grown(other_, floats); }

 private:
  static float* grown(std::vector<float>& room, int64_t floats) {
    if (static_cast<int64_t>(room.size()) < floats) room.resize(floats);
    return room.data();
  }
  std::vector<float> normalised_;
  std::vector<float> hidden_;
  std::vector<float> out_;
  std::vector<float> other_;
};

PanelRoom& panel_room() {
  static thread_local PanelRoom room;
  return room;
}

/// Pointers to rows that follow one another.
class RowPointers {
 public:
  RowPointers(const float* first, size_t n, int64_t width) : count_(n) {
    for (size_t i = 0; i < n; ++i) rows_[i] = first + static_cast<int64_t>(i) * width;
  }
  [[nodiscard]] Rows rows() const { return {rows_.data(), count_}; }

 private:
  std::array<const float*, kPanelRows> rows_{};
  size_t count_;
};

}  // namespace

void WavefrontPass::project() {
  std::vector<int32_t> rows;
  for (int s = 0; s < static_cast<int>(forest_.streams().size()); ++s)
    if (!forest_[s].is_frozen())
      rows_.each_own(s, [&](int32_t, int32_t row) { rows.push_back(row); });
  // In the order in which they lie, most panels are one piece of memory.
  std::ranges::sort(rows);
  // Edits see queries and keys before rotation; without any there, rows turn while they are warm.
  rotated_ = !edits_any(Site::q, Site::pattern) && captures_[layer_].empty();
  const auto count = static_cast<int64_t>(rows.size());
  pool_.parallel_for((count + kPanelRows - 1) / kPanelRows, [&](int64_t panel) {
    const int64_t begin = panel * kPanelRows;
    const int64_t n = std::min(kPanelRows, count - begin);
    project_panel({rows.data() + begin, static_cast<size_t>(n)});
  });
}

void WavefrontPass::project_panel(std::span<const int32_t> rows) {
  const ModelConfig& config = model_.config();
  const auto n = static_cast<int64_t>(rows.size());
  std::array<const float*, kPanelRows> resid{};
  for (int64_t i = 0; i < n; ++i) resid[i] = store_.resid(rows[i]);
  const bool in_one_piece = rows.back() - rows.front() == n - 1;
  float* projected =
      in_one_piece ? store_.qkv(rows.front()) : panel_room().out(n * store_.qkv_width());
  model_.project_qkv(layer_, {resid.data(), rows.size()}, projected);
  for (int64_t i = 0; i < n; ++i) {
    float* to = store_.qkv(rows[i]);
    if (!in_one_piece)
      std::memcpy(to, projected + i * store_.qkv_width(), store_.qkv_width() * sizeof(float));
    if (rotated_)
      model_.rotate(layer_, to, config.n_heads + config.n_kv_heads, store_.place(rows[i]));
  }
}

void WavefrontPass::each_panel(void (WavefrontPass::*panel)(std::span<const int32_t>)) {
  std::vector<int32_t> rows;
  const auto run = [&] {
    const auto count = static_cast<int64_t>(rows.size());
    pool_.parallel_for((count + kPanelRows - 1) / kPanelRows, [&](int64_t i) {
      const int64_t begin = i * kPanelRows;
      const int64_t n = std::min(kPanelRows, count - begin);
      (this->*panel)({rows.data() + begin, static_cast<size_t>(n)});
    });
    rows.clear();
  };
  for (int s = 0; s < static_cast<int>(forest_.streams().size()); ++s) {
    // Edits take from unedited runs only, so those have to be done by then.
    if (s == forest_.roots() && !held_.empty()) run();
    if (forest_[s].is_frozen()) continue;
    rows_.each_own(s, [&](int32_t position, int32_t row) {
      if (wanted(s, position)) rows.push_back(row);
    });
  }
  run();
}

void WavefrontPass::hook_panel(Site site, std::span<const int32_t> rows, float* values) const {
  if (hooks(site).empty()) return;
  const int64_t width = site_width(site, model_.config());
  for (size_t i = 0; i < rows.size(); ++i)
    hooks(site).apply(model_, rows[i], values + static_cast<int64_t>(i) * width, width);
}

/// Adds what a sublayer gives to the residual stream, then the edits of that.
void WavefrontPass::add_panel(Site after, std::span<const int32_t> rows, const float* out) const {
  const int64_t width = store_.d_model();
  for (size_t i = 0; i < rows.size(); ++i) {
    float* resid = store_.resid(rows[i]);
    add_row(out + static_cast<int64_t>(i) * width, width, resid);
    hooks(after).apply(model_, rows[i], resid, width);
  }
}

void WavefrontPass::attention_output() {
  for (const Site site : {Site::attn_out, Site::resid_mid}) hooks(site).finish();
  each_panel(&WavefrontPass::attention_panel);
  add_to_frozen(Site::attn_out);
  edit_frozen(Site::resid_mid);
  drop_components();
}

void WavefrontPass::attention_panel(std::span<const int32_t> rows) {
  float* out = panel_room().out(kPanelRows * store_.d_model());
  compute_attention_output(rows, out);
  add_panel(Site::resid_mid, rows, out);
}

void WavefrontPass::compute_attention_output(std::span<const int32_t> rows, float* out) {
  std::array<const float*, kPanelRows> z{};
  for (size_t i = 0; i < rows.size(); ++i) z[i] = store_.z(rows[i]);
  model_.attention_output(layer_, {z.data(), rows.size()}, out);
  hook_panel(Site::attn_out, rows, out);
}

void WavefrontPass::mlp() {
  finish_mlp_hooks();
  each_panel(&WavefrontPass::mlp_panel);
  add_to_frozen(Site::mlp_out);
  edit_frozen(Site::resid_post);
  drop_components();
}

void WavefrontPass::finish_mlp_hooks() {
  for (const Site site :
       {Site::mlp_in, Site::mlp_norm, Site::mlp_hidden, Site::mlp_out, Site::resid_post})
    hooks(site).finish();
}

void WavefrontPass::mlp_panel(std::span<const int32_t> rows) {
  float* out = panel_room().out(kPanelRows * store_.d_model());
  compute_mlp(rows, out);
  add_panel(Site::resid_post, rows, out);
}

/// Attention and MLP of a parallel residual: the MLP reads the stream before attention adds to it.
void WavefrontPass::both_sublayers() {
  hooks(Site::attn_out).finish();
  finish_mlp_hooks();
  each_panel(&WavefrontPass::parallel_panel);
  add_to_frozen(Site::attn_out);
  add_to_frozen(Site::mlp_out);
  edit_frozen(Site::resid_post);
  drop_components();
}

void WavefrontPass::parallel_panel(std::span<const int32_t> rows) {
  PanelRoom& room = panel_room();
  float* mlp_out = room.other(kPanelRows * store_.d_model());
  compute_mlp(rows, mlp_out);
  float* attn_out = room.out(kPanelRows * store_.d_model());
  compute_attention_output(rows, attn_out);
  add_panel(Site::resid_mid, rows, attn_out);
  add_panel(Site::resid_post, rows, mlp_out);
}

void WavefrontPass::compute_mlp(std::span<const int32_t> rows, float* out) {
  const int64_t width = store_.d_model();
  std::array<const float*, kPanelRows> input{};
  std::deque<std::vector<float>> edited;
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* resid = store_.resid(rows[i]);
    input[i] = resid;
    if (!hooks(Site::mlp_in).touches(rows[i])) continue;
    edited.emplace_back(resid, resid + width);
    hooks(Site::mlp_in).apply(model_, rows[i], edited.back().data(), width);
    input[i] = edited.back().data();
  }
  const int64_t units = model_.config().d_mlp;
  PanelRoom& room = panel_room();
  float* normalised = room.normalised(kPanelRows * width);
  model_.mlp_norm(layer_, {input.data(), rows.size()}, normalised);
  hook_panel(Site::mlp_norm, rows, normalised);
  float* hidden = room.hidden(kPanelRows * units);
  model_.mlp_hidden(layer_, RowPointers(normalised, rows.size(), width).rows(), hidden);
  hook_panel(Site::mlp_hidden, rows, hidden);
  model_.mlp_output(layer_, RowPointers(hidden, rows.size(), units).rows(), out);
  hook_panel(Site::mlp_out, rows, out);
}

}  // namespace mechsweep
