#include "engine/wavefront_pass.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace mechsweep {

namespace {

bool wanted_in_last_layer(const Stream& stream, int32_t position) {
  return stream.queried[position] != 0;
}
bool always_wanted(const Stream&, int32_t) {
  return true;
}

/// What a thread works in while it computes a panel, to be used again and again.
class PanelRoom {
 public:
  float* normalised(int64_t floats) { return grown(normalised_, floats); }
  float* hidden(int64_t floats) { return grown(hidden_, floats); }
  float* out(int64_t floats) { return grown(out_, floats); }

 private:
  static float* grown(std::vector<float>& room, int64_t floats) {
    if (static_cast<int64_t>(room.size()) < floats) room.resize(floats);
    return room.data();
  }
  std::vector<float> normalised_;
  std::vector<float> hidden_;
  std::vector<float> out_;
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

void add_row(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

/// Values of donors that edits of attention take: rows as they are now, patterns by computing them.
class WavefrontPass::LayerDonors final : public DonorSource {
 public:
  LayerDonors(const WavefrontPass& pass, int donor) : pass_(pass), donor_(donor) {}

  [[nodiscard]] const float* row(const Edit&, Site site, int32_t position) const override {
    return pass_.site_row(site, pass_.rows_.row(donor_, position));
  }
  [[nodiscard]] const float* pattern(const Edit&, int head, int32_t query) const override {
    pattern_ = pass_.attention_->pattern(donor_, head, query, nullptr);
    return pattern_.data();
  }

 private:
  const WavefrontPass& pass_;
  int donor_;
  mutable std::vector<float> pattern_;
};

WavefrontPass::WavefrontPass(const Model& model, ThreadPool& pool, const StreamForest& forest,
                             RowStore& store)
    : model_(model), pool_(pool), forest_(forest), store_(store), rows_(forest, store) {
  index_edits();
  for (const Stream& stream : forest.streams())
    complete_from_.push_back(stream.is_root() ? stream.first : stream.length);
}

void WavefrontPass::index_edits() {
  const int layers = model_.config().n_layers;
  edits_.resize(layers);
  captures_.resize(layers);
  const auto count = static_cast<int>(forest_.streams().size());
  for (int s = 0; s < count; ++s)
    for (const StreamEdit& edit : forest_[s].edits)
      if (forest_[s].length > 0) edits_[edit.layer].push_back({s, &edit});
  for (const StreamCapture& capture : forest_.captures())
    captures_[capture.layer].push_back(&capture);
}

void WavefrontPass::run(const WatchedStreams& watched) {
  embed();
  for (int layer = 0; layer < model_.config().n_layers; ++layer) run_layer(layer, watched);
}

void WavefrontPass::embed() {
  for (int root = 0; root < forest_.roots(); ++root)
    for (int32_t t = forest_[root].first; t < forest_[root].length; ++t)
      model_.embed(forest_[root].tokens[t], t, store_.resid(rows_.add(root, t)));
}

void WavefrontPass::run_layer(int layer, const WatchedStreams& watched) {
  start_layer(layer);
  edit_inputs();
  project();
  edit_projections();
  spread();
  edit_attention();
  rotate();
  attend(watched);
  edit_z();
  attention_output();
  open_mlp_rows();
  mlp();
}

void WavefrontPass::start_layer(int layer) {
  layer_ = layer;
  for (SiteHooks& site : hooks_) site = SiteHooks();
  changes_ = AttentionChanges();
  held_.clear();
  for (int s = 0; s < static_cast<int>(forest_.streams().size()); ++s)
    if (!alive(s)) rows_.drop(s);
}

bool WavefrontPass::wanted(int stream, int32_t position) const {
  const Stream& about = forest_[stream];
  return position < about.length &&
         (layer_ + 1 < model_.config().n_layers || wanted_in_last_layer(about, position));
}

// --- edits -------------------------------------------------------------------------------------

bool WavefrontPass::edits_any(Site first, Site last) const {
  const auto within = [&](Site site) { return site >= first && site <= last; };
  return std::any_of(edits_[layer_].begin(), edits_[layer_].end(),
                     [&](const LayerEdit& edit) { return within(edit.edit->site); });
}

template <typename Visit>
void WavefrontPass::each_edit(Site first, Site last, const Visit& visit) const {
  for (const LayerEdit& edit : edits_[layer_]) {
    if (edit.edit->site < first || edit.edit->site > last || !alive(edit.stream)) continue;
    const Stream& stream = forest_[edit.stream];
    for (const int32_t position : edit.edit->edit->positions)
      // The first positions of a stream with a prefix are edited where they are owned.
      if (position >= stream.first && position < stream.length) visit(edit, position);
  }
}

float* WavefrontPass::site_row(Site site, int32_t row) const {
  const int64_t keys = store_.z_width();
  const int64_t values = keys + (store_.qkv_width() - keys) / 2;
  switch (site) {
    case Site::q:
    case Site::z:
      return store_.qkv(row);
    case Site::k:
      return store_.qkv(row) + keys;
    case Site::v:
      return store_.qkv(row) + values;
    default:
      return store_.resid(row);
  }
}

int32_t WavefrontPass::own_row(int stream, int32_t position, Copy copy) {
  const int32_t own = rows_.own(stream, position);
  if (own >= 0) return own;
  const int32_t shared = rows_.row(stream, position);
  const int32_t row = rows_.add(stream, position);
  store_.copy_resid(shared, row);
  if (copy == Copy::resid_and_qkv) store_.copy_qkv(shared, row);
  if (copy == Copy::resid_and_z) store_.copy_z(shared, row);
  return row;
}

bool WavefrontPass::writes_what_is_there(const LayerEdit& edit, int32_t position) const {
  return edit.edit->edit->operation == Operation::replace && edit.edit->donor >= 0 &&
         rows_.own(edit.stream, position) < 0 &&
         rows_.row(edit.edit->donor, position) == rows_.row(edit.stream, position);
}

/// An edit of a site that lies in the store; a stream that shares the row gets its own only when
/// the edit changes a bit.
void WavefrontPass::edit_direct(const LayerEdit& edit, int32_t position) {
  if (writes_what_is_there(edit, position)) return;
  const Site site = edit.edit->site;
  const float* donor =
      edit.edit->donor >= 0 ? site_row(site, rows_.row(edit.edit->donor, position)) : nullptr;
  const auto tokens = static_cast<int64_t>(forest_[edit.stream].tokens.size());
  const EditPlace place = {edit.edit->edit, donor, tokens - 1 - position};
  const int32_t own = rows_.own(edit.stream, position);
  if (own >= 0) return apply_edit(model_, place, site_row(site, own));
  const float* shared = site_row(site, rows_.row(edit.stream, position));
  const int64_t width = site_width(site, model_.config());
  std::vector<float> changed(shared, shared + width);
  apply_edit(model_, place, changed.data());
  if (std::memcmp(changed.data(), shared, width * sizeof(float)) == 0) return;
  const Copy copy = site == Site::resid_pre ? Copy::resid : Copy::resid_and_z;
  const int32_t row = own_row(edit.stream, position, copy);
  std::copy(changed.begin(), changed.end(), site_row(site, row));
}

const float* WavefrontPass::donor_row(const LayerEdit& edit, int32_t position) {
  return edit.edit->donor >= 0 ? hold(edit.edit->site, rows_.row(edit.edit->donor, position))
                               : nullptr;
}

/// An edit of a site that exists only while panels are computed.
void WavefrontPass::edit_hooked(const LayerEdit& edit, int32_t position) {
  if (writes_what_is_there(edit, position)) return;
  const bool after_z = edit.edit->site <= Site::resid_mid;
  const int32_t row = own_row(edit.stream, position, after_z ? Copy::resid_and_z : Copy::resid);
  const float* donor = donor_row(edit, position);
  if (forest_[edit.stream].is_frozen()) return;  // add_to_frozen edits its rows
  const auto tokens = static_cast<int64_t>(forest_[edit.stream].tokens.size());
  hooks(edit.edit->site).edit(row, {edit.edit->edit, donor, tokens - 1 - position});
}

/// Room for a site's values of a row, which are put there when its panel is computed.
float* WavefrontPass::hold(Site site, int32_t row) {
  auto [place, is_new] = held_.try_emplace({site, row}, site_width(site, model_.config()));
  if (is_new) hooks(site).capture(row, place->second.data());
  return place->second.data();
}

void WavefrontPass::capture(Site first, Site last) {
  for (const StreamCapture* capture : captures_[layer_]) {
    const Site site = capture->point.site;
    if (site < first || site > last || capture->point.layer < layer_) continue;
    const bool residual =
        site == Site::resid_pre || site == Site::resid_mid || site == Site::resid_post;
    const Stream& stream = forest_[capture->stream];
    if (residual && stream.is_frozen() && site > Site::z &&
        rows_.own(capture->stream, capture->point.position) >= 0)
      continue;  // add_to_frozen has the value
    const int of = stream.is_frozen() && !residual ? stream.component : capture->stream;
    const int32_t row = rows_.row(of, capture->point.position);
    if (site <= Site::z) {
      std::copy_n(site_row(site, row), site_width(site, model_.config()), capture->destination);
    } else {
      hooks(site).capture(row, capture->destination);
    }
  }
}

// --- the steps of a layer ----------------------------------------------------------------------

void WavefrontPass::edit_inputs() {
  // What stands for the layer below: its resid_post, edited and kept, before this layer's edits.
  const auto edit_from = [&](bool below) {
    each_edit(Site::resid_pre, Site::resid_pre, [&](const LayerEdit& edit, int32_t position) {
      if ((edit.edit->edit->site == Site::resid_post) == below) edit_direct(edit, position);
    });
  };
  edit_from(true);
  for (const StreamCapture* capture : captures_[layer_])
    if (capture->point.layer < layer_)
      std::copy_n(store_.resid(rows_.row(capture->stream, capture->point.position)),
                  store_.d_model(), capture->destination);
  edit_from(false);
  each_edit(Site::q, Site::v, [&](const LayerEdit& edit, int32_t position) {
    if (!writes_what_is_there(edit, position)) own_row(edit.stream, position, Copy::resid);
  });
  capture(Site::resid_pre, Site::resid_pre);
}

void WavefrontPass::project() {
  std::vector<int32_t> rows;
  for (int s = 0; s < static_cast<int>(forest_.streams().size()); ++s)
    if (!forest_[s].is_frozen())
      rows_.each_own(s, [&](int32_t, int32_t row) { rows.push_back(row); });
  // Edits see queries and keys before rotation; without any there, rows turn while they are warm.
  rotated_ = !edits_any(Site::q, Site::pattern) && captures_[layer_].empty();
  const ModelConfig& config = model_.config();
  const auto count = static_cast<int64_t>(rows.size());
  pool_.parallel_for((count + kPanelRows - 1) / kPanelRows, [&](int64_t panel) {
    const int64_t begin = panel * kPanelRows;
    const int64_t n = std::min(kPanelRows, count - begin);
    std::array<const float*, kPanelRows> resid{};
    for (int64_t i = 0; i < n; ++i) resid[i] = store_.resid(rows[begin + i]);
    float* projected = panel_room().out(n * store_.qkv_width());
    model_.project_qkv(layer_, {resid.data(), static_cast<size_t>(n)}, projected);
    for (int64_t i = 0; i < n; ++i) {
      float* to = store_.qkv(rows[begin + i]);
      std::memcpy(to, projected + i * store_.qkv_width(), store_.qkv_width() * sizeof(float));
      if (rotated_)
        model_.rotate(to, config.n_heads + config.n_kv_heads, store_.position(rows[begin + i]));
    }
  });
}

void WavefrontPass::edit_projections() {
  each_edit(Site::q, Site::v, [&](const LayerEdit& edit, int32_t position) {
    const int32_t row = rows_.own(edit.stream, position);
    if (row < 0) return;  // it would write what is there
    const Site site = edit.edit->site;
    const float* donor =
        edit.edit->donor >= 0 ? site_row(site, rows_.row(edit.edit->donor, position)) : nullptr;
    const auto tokens = static_cast<int64_t>(forest_[edit.stream].tokens.size());
    apply_edit(model_, {edit.edit->edit, donor, tokens - 1 - position}, site_row(site, row));
  });
  capture(Site::q, Site::v);
}

/// The lowest position whose key or value differs from the parent's; the length if none does.
int32_t WavefrontPass::first_changed_key(int stream) const {
  const Stream& about = forest_[stream];
  int32_t first = rows_.lowest(stream);
  if (about.prefix < 0) return first;
  for (int32_t t = 0; t < std::min(about.prefix_length, first); ++t)
    if (rows_.row(about.prefix, t) != rows_.row(about.parent, t)) return t;
  return first;
}

void WavefrontPass::spread_stream(int stream) {
  const Stream& about = forest_[stream];
  if (about.is_root() || about.is_frozen() || !alive(stream)) return;
  int32_t& complete = complete_from_[stream];
  if (complete <= about.first) return;
  const int32_t changed = first_changed_key(stream);
  if (changed >= complete) return;
  const int32_t begin = std::max(changed, about.first);
  for (int32_t t = begin; t < complete; ++t)
    if (wanted(stream, t)) own_row(stream, t, Copy::resid_and_qkv);
  complete = begin;
}

void WavefrontPass::spread() {
  for (int s = forest_.roots(); s < static_cast<int>(forest_.streams().size()); ++s)
    spread_stream(s);
}

void WavefrontPass::rotate() {
  if (rotated_) return;
  const ModelConfig& config = model_.config();
  pool_.parallel_for(static_cast<int64_t>(forest_.streams().size()), [&](int64_t s) {
    if (forest_[static_cast<int>(s)].is_frozen()) return;
    rows_.each_own(static_cast<int>(s), [&](int32_t position, int32_t row) {
      model_.rotate(store_.qkv(row), config.n_heads + config.n_kv_heads, position);
    });
  });
}

/// Rows for queries whose attention is edited, and what is edited with vectors, which are taken
/// before rotation.
void WavefrontPass::edit_attention() {
  for (const LayerEdit& edit : edits_[layer_]) {
    if (!edits_attention(*edit.edit->edit) || !alive(edit.stream)) continue;
    const Stream& stream = forest_[edit.stream];
    const LayerDonors donors(*this, edit.edit->donor);
    for (const int32_t query : queries_of(*edit.edit->edit)) {
      if (query < stream.first || !wanted(edit.stream, query)) continue;
      const int32_t row = own_row(edit.stream, query, Copy::resid_and_qkv);
      if (edit.edit->site == Site::pattern) continue;
      for (const int32_t head : edit.edit->edit->heads)
        change_attention(model_, *edit.edit->edit, donors, query, head, changes_.at(row, head));
    }
  }
}

void WavefrontPass::attend(const WatchedStreams& watched) {
  std::vector<int> querying;
  const bool last = layer_ + 1 == model_.config().n_layers;
  for (int s = 0; s < static_cast<int>(forest_.streams().size()); ++s)
    if (rows_.count(s) > 0 && !forest_[s].is_frozen()) querying.push_back(s);
  attention_ = std::make_unique<WavefrontAttention>(model_.config(), pool_, forest_, rows_, store_);
  const auto component_of = [&](int s) {
    return forest_[s].is_frozen() ? forest_[s].component : s;
  };
  for (const auto& [stream, task] : watched.streams)
    attention_->want_patterns(component_of(stream));
  for (const LayerEdit& edit : edits_[layer_])
    if (edit.edit->site == Site::pattern && edit.edit->donor >= 0)
      attention_->want_patterns(edit.edit->donor);
  attention_->prepare(querying);
  each_edit(Site::pattern, Site::pattern, [&](const LayerEdit& edit, int32_t query) {
    if (!wanted(edit.stream, query)) return;
    const LayerDonors donors(*this, edit.edit->donor);
    const int32_t row = rows_.own(edit.stream, query);
    for (const int32_t head : edit.edit->edit->heads)
      change_attention(model_, *edit.edit->edit, donors, query, head, changes_.at(row, head));
  });
  for (const auto& [stream, task] : watched.streams)
    attention_->observe(component_of(stream), task, layer_, changes_, *watched.observer);
  attention_->attend(querying, changes_, last ? wanted_in_last_layer : always_wanted);
}

void WavefrontPass::edit_z() {
  each_edit(Site::z, Site::z, [&](const LayerEdit& edit, int32_t position) {
    if (wanted(edit.stream, position)) edit_direct(edit, position);
  });
  open_rows(Site::attn_out, Site::attn_out, Site::resid_mid);
  capture(Site::z, Site::resid_mid);
}

void WavefrontPass::open_mlp_rows() {
  open_rows(Site::mlp_in, Site::mlp_out, Site::resid_post);
  capture(Site::mlp_in, Site::resid_post);
}

/// Rows and hooks for edits inside a sublayer (sites first..added) and of the residual stream after
/// it, `added` being what the sublayer adds.
void WavefrontPass::open_rows(Site first, Site added, Site after) {
  const auto open = [&](const LayerEdit& edit, int32_t position) {
    if (wanted(edit.stream, position)) edit_hooked(edit, position);
  };
  each_edit(first, added, open);
  each_frozen([&](int stream) { follow_component(stream); });
  each_edit(after, after, open);
  each_frozen([&](int stream) {
    rows_.each_own(stream, [&](int32_t position, int32_t) {
      if (wanted(stream, position))
        (void)hold(added, rows_.row(forest_[stream].component, position));
    });
  });
}

// --- frozen streams ----------------------------------------------------------------------------

template <typename Visit>
void WavefrontPass::each_frozen(const Visit& visit) const {
  for (int s = forest_.roots(); s < static_cast<int>(forest_.streams().size()); ++s)
    if (forest_[s].is_frozen() && alive(s)) visit(s);
}

/// Before a sublayer runs: a frozen stream gets a row wherever its component has one, with the base
/// run's residual stream.
void WavefrontPass::follow_component(int stream) {
  rows_.each_own(forest_[stream].component, [&](int32_t position, int32_t) {
    if (wanted(stream, position)) (void)own_row(stream, position, Copy::resid);
  });
}

/// After a sublayer: adds what it gives to the residual stream of frozen streams, and edits that.
void WavefrontPass::add_to_frozen(Site added) {
  each_frozen([&](int stream) {
    rows_.each_own(stream, [&](int32_t position, int32_t row) {
      if (!wanted(stream, position)) return;
      const auto& values = held_.at({added, rows_.row(forest_[stream].component, position)});
      add_row(values.data(), store_.d_model(), store_.resid(row));
    });
  });
  edit_frozen(added == Site::attn_out ? Site::resid_mid : Site::resid_post);
  drop_components();
}

/// Edits of the residual stream after a sublayer, and copies of it, in frozen streams' own rows.
void WavefrontPass::edit_frozen(Site site) {
  each_edit(site, site, [&](const LayerEdit& edit, int32_t position) {
    const int32_t row = rows_.own(edit.stream, position);
    if (!forest_[edit.stream].is_frozen() || !wanted(edit.stream, position) || row < 0) return;
    const float* donor = nullptr;
    if (edit.edit->donor >= 0) {
      const auto held = held_.find({site, rows_.row(edit.edit->donor, position)});
      if (held == held_.end()) return;  // it would have written what was there
      donor = held->second.data();
    }
    const auto tokens = static_cast<int64_t>(forest_[edit.stream].tokens.size());
    apply_edit(model_, {edit.edit->edit, donor, tokens - 1 - position}, store_.resid(row));
  });
  for (const StreamCapture* capture : captures_[layer_]) {
    const int32_t row = rows_.own(capture->stream, capture->point.position);
    if (capture->point.site == site && capture->point.layer == layer_ &&
        forest_[capture->stream].is_frozen() && row >= 0)
      std::copy_n(store_.resid(row), store_.d_model(), capture->destination);
  }
}

void WavefrontPass::drop_components() {
  for (int s = forest_.roots(); s < static_cast<int>(forest_.streams().size()); ++s)
    if (forest_[s].is_component) {
      rows_.drop(s);
      complete_from_[s] = forest_[s].length;
    }
}

// --- panels ------------------------------------------------------------------------------------

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
}

void WavefrontPass::attention_panel(std::span<const int32_t> rows) {
  std::array<const float*, kPanelRows> z{};
  for (size_t i = 0; i < rows.size(); ++i) z[i] = store_.z(rows[i]);
  float* out = panel_room().out(kPanelRows * store_.d_model());
  model_.attention_output(layer_, {z.data(), rows.size()}, out);
  hook_panel(Site::attn_out, rows, out);
  add_panel(Site::resid_mid, rows, out);
}

void WavefrontPass::mlp() {
  for (const Site site :
       {Site::mlp_in, Site::mlp_norm, Site::mlp_hidden, Site::mlp_out, Site::resid_post})
    hooks(site).finish();
  each_panel(&WavefrontPass::mlp_panel);
  add_to_frozen(Site::mlp_out);
}

void WavefrontPass::mlp_panel(std::span<const int32_t> rows) {
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
  float* out = room.out(kPanelRows * width);
  model_.mlp_output(layer_, RowPointers(hidden, rows.size(), units).rows(), out);
  hook_panel(Site::mlp_out, rows, out);
  add_panel(Site::resid_post, rows, out);
}

}  // namespace mechsweep
