#include "engine/wavefront_pass.h"

#include <algorithm>

namespace mechsweep {

namespace {

bool wanted_in_last_layer(const Stream& stream, int32_t position) {
  return stream.queried[position] != 0;
}
bool always_wanted(const Stream&, int32_t) {
  return true;
}

}  // namespace

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
  if (model_.config().parallel_residual) {
    open_mlp_rows();
    both_sublayers();
    return;
  }
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
  // Until its own edits begin a stream is its parent: a row of its own would miss the parent's
  // edits to come.
  if (about.edits.empty() || about.edits.front().layer > layer_) return;
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
    rows_.each_own(static_cast<int>(s), [&](int32_t /*position*/, int32_t row) {
      model_.rotate(layer_, store_.qkv(row), config.n_heads + config.n_kv_heads, store_.place(row));
    });
  });
}

void WavefrontPass::attend(const WatchedStreams& watched) {
  std::vector<int> querying;
  const bool last = layer_ + 1 == model_.config().n_layers;
  for (int s = 0; s < static_cast<int>(forest_.streams().size()); ++s)
    if (rows_.count(s) > 0 && !forest_[s].is_frozen()) querying.push_back(s);
  attention_ = std::make_unique<WavefrontAttention>(model_, layer_, pool_, forest_, rows_, store_);
  const auto component_of = [&](int s) {
    return forest_[s].is_frozen() ? forest_[s].component : s;
  };
  for (const auto& [stream, task] : watched.streams) attention_->watch(component_of(stream), task);
  for (const LayerEdit& edit : edits_[layer_])
    if (edit.edit->site == Site::pattern && edit.edit->donor >= 0)
      attention_->want_patterns(edit.edit->donor);
  attention_->prepare(querying);
  edit_patterns();
  attention_->attend({.changes = changes_,
                      .wanted = last ? wanted_in_last_layer : always_wanted,
                      .observer = watched.observer});
}

}  // namespace mechsweep
