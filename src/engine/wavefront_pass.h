#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "engine/edit_values.h"
#include "engine/stream_forest.h"
#include "engine/stream_rows.h"
#include "engine/wavefront_attention.h"
#include "model/model.h"

namespace mechsweep {

/// An observer and the streams that it watches, with their tasks' numbers.
struct WatchedStreams {
  AttentionObserver* observer = nullptr;
  std::vector<std::pair<int, int64_t>> streams;
};

/// One pass over the layers for all streams of a forest, as one set of rows. Layer by layer:
///   residual edits, then rows for streams whose queries, keys or values are edited;
///   projections of all rows; edits of them; rows for what the streams' changed keys reach (copies:
///   their own projections are the ones they share); rotation;
///   attention of the rows that streams own; edits of z, and rows where they change something;
///   output projection and its edits; rows for edits around the MLP; MLP and its edits.
/// Nothing of an earlier layer is kept.
class WavefrontPass {
 public:
  WavefrontPass(const Model& model, ThreadPool& pool, const StreamForest& forest, RowStore& store);

  void run(const WatchedStreams& watched);
  /// The final residual row of a stream, D floats.
  [[nodiscard]] const float* final_row(int stream, int32_t position) const {
    return store_.resid(rows_.row(stream, position));
  }

 private:
  /// An edit of a stream in the layer at hand.
  struct LayerEdit {
    int stream = -1;
    const StreamEdit* edit = nullptr;
  };
  class LayerDonors;

  void index_edits();
  void embed();
  void start_layer(int layer);
  void run_layer(int layer, const WatchedStreams& watched);

  // The steps of a layer, in order.
  void edit_inputs();
  void project();
  void edit_projections();
  void spread();
  void edit_attention();
  void rotate();
  void attend(const WatchedStreams& watched);
  void edit_patterns();
  void edit_z();
  void attention_output();
  void open_mlp_rows();
  void mlp();
  void both_sublayers();

  // Parts of them.
  [[nodiscard]] bool edits_any(Site first, Site last) const;
  /// Calls visit(edit, position) for every needed position of the layer's edits at these sites.
  template <typename Visit>
  void each_edit(Site first, Site last, const Visit& visit) const;
  [[nodiscard]] EditPlace place_of(const LayerEdit& edit, int32_t position,
                                   const float* donor) const;
  void edit_direct(const LayerEdit& edit, int32_t position);
  void edit_hooked(const LayerEdit& edit, int32_t position);
  [[nodiscard]] bool writes_what_is_there(const LayerEdit& edit, int32_t position) const;
  /// The stream's own row at a position, made from the one that it shares when there is none.
  enum class Copy { resid, resid_and_qkv, resid_and_z };
  int32_t own_row(int stream, int32_t position, Copy copy);
  void spread_stream(int stream);
  [[nodiscard]] int32_t first_changed_key(int stream) const;
  void open_rows(Site first, Site added, Site after);
  template <typename Visit>
  void each_frozen(const Visit& visit) const;
  void follow_component(int stream);
  void hold_for_frozen(Site added);
  void add_to_frozen(Site added);
  void edit_frozen(Site site);
  void drop_components();
  void capture(Site first, Site last);
  [[nodiscard]] float* site_row(Site site, int32_t row) const;
  [[nodiscard]] const float* donor_row(const LayerEdit& edit, int32_t position);
  float* hold(Site site, int32_t row);
  /// Runs `panel` on the rows of streams that take part in the layer to its end, unedited streams
  /// first where others take values from them.
  void each_panel(void (WavefrontPass::*panel)(std::span<const int32_t>));
  void project_panel(std::span<const int32_t> rows);
  void attention_panel(std::span<const int32_t> rows);
  void mlp_panel(std::span<const int32_t> rows);
  void parallel_panel(std::span<const int32_t> rows);
  /// What a sublayer adds to rows [n, D], edited.
  void compute_attention_output(std::span<const int32_t> rows, float* out);
  void compute_mlp(std::span<const int32_t> rows, float* out);
  void finish_mlp_hooks();
  void hook_panel(Site site, std::span<const int32_t> rows, float* values) const;
  void add_panel(Site after, std::span<const int32_t> rows, const float* out) const;
  [[nodiscard]] bool alive(int stream) const {
    return forest_[stream].length > 0 && forest_[stream].last_layer >= layer_;
  }
  [[nodiscard]] bool wanted(int stream, int32_t position) const;
  SiteHooks& hooks(Site site) { return hooks_[static_cast<size_t>(site)]; }
  [[nodiscard]] const SiteHooks& hooks(Site site) const {
    return hooks_[static_cast<size_t>(site)];
  }

  const Model& model_;
  ThreadPool& pool_;
  const StreamForest& forest_;
  RowStore& store_;
  StreamRows rows_;
  std::vector<std::vector<LayerEdit>> edits_;                ///< by layer, streams ascending
  std::vector<std::vector<const StreamCapture*>> captures_;  ///< by layer
  std::vector<int32_t> complete_from_;  ///< by stream: it owns every position from here on

  // Of the layer at hand.
  int layer_ = 0;
  bool rotated_ = false;
  std::array<SiteHooks, kSiteCount> hooks_;
  AttentionChanges changes_;
  std::unique_ptr<WavefrontAttention> attention_;
  std::map<std::pair<Site, int32_t>, std::vector<float>> held_;  ///< by site and row
};

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

template <typename Visit>
void WavefrontPass::each_frozen(const Visit& visit) const {
  for (int s = forest_.roots(); s < static_cast<int>(forest_.streams().size()); ++s)
    if (forest_[s].is_frozen() && alive(s)) visit(s);
}

}  // namespace mechsweep
