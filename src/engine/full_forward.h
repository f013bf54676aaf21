#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "engine/edit_values.h"
#include "engine/executor.h"
#include "model/model.h"

namespace mechsweep {

/// A token sequence in a batch of rows: its rows follow one another.
struct BatchSequence {
  std::span<const int32_t> tokens;
  int64_t first_row = 0;
  int64_t task = 0;  ///< for the observer, who does not see negative ones
  /// The sequence of the batch whose residual stream the layers read: itself, or its base run where
  /// what comes after the edits is frozen.
  int64_t input = 0;
};

/// What happens on the way: by layer and site, by row of the batch.
struct ForwardActions {
  std::vector<std::array<SiteHooks, kSiteCount>> sites;  ///< [L]
  std::vector<AttentionChanges> attention;               ///< [L]

  explicit ForwardActions(int layers) : sites(layers), attention(layers) {}
  SiteHooks& at(int layer, Site site) { return sites[layer][static_cast<size_t>(site)]; }
  void finish();
};

/// One whole forward pass of sequences of any lengths, row beside row without padding between them:
/// every row of every layer is computed, phase after phase.
class FullForward {
 public:
  FullForward(const Model& model, ThreadPool& pool, std::span<const BatchSequence> sequences,
              const ForwardActions& actions, AttentionObserver* observer);

  /// Runs all layers; afterwards resid_row gives the final residual stream.
  void run();
  [[nodiscard]] const float* resid_row(int64_t row) const;

  /// Bytes of activations that a row takes.
  static int64_t bytes_per_row(const ModelConfig& config);

 private:
  /// Rows of activations of one width.
  struct Buffer {
    int64_t width = 0;
    std::vector<float> values;
    Buffer(int64_t rows, int64_t row_width) : width(row_width), values(rows * row_width) {}
    float* row(int64_t r) { return values.data() + r * width; }
    [[nodiscard]] const float* row(int64_t r) const { return values.data() + r * width; }
  };

  void run_layer(int layer);
  void embed();
  void edit_inputs(int layer);
  void hook_row(int layer, Site site, int64_t row, float* values);
  void hook_panel(int layer, Site site, int64_t panel, Buffer& rows);
  void project(int layer, int64_t panel);
  void attend_head(int layer, int64_t sequence, int kv_head);
  void attention_output(int layer, int64_t panel);
  /// Adds what a sublayer gives to the residual stream.
  void add_sublayer(int layer, const Buffer& added, Site after, int64_t panel);
  void mlp(int layer, int64_t panel, Buffer& out);
  /// A panel of `buffer`; with `input` the rows that the layers read instead of a run's own.
  [[nodiscard]] std::vector<const float*> rows_of(const Buffer& buffer, int64_t panel,
                                                  bool input) const;
  [[nodiscard]] int64_t rows_in(int64_t panel) const;

  const Model& model_;
  ThreadPool& pool_;
  std::span<const BatchSequence> sequences_;
  const ForwardActions& actions_;
  AttentionObserver* observer_;
  std::vector<TokenPlace> places_;   ///< of every row
  std::vector<int64_t> input_rows_;  ///< of every row: the row that the layers read
  int64_t rows_ = 0;
  int64_t panels_ = 0;
  Buffer resid_;    ///< [R, D]
  Buffer qkv_;      ///< [R, (H + 2 K) E]
  Buffer z_;        ///< [R, H E]
  Buffer out_;      ///< [R, D]: what the sublayer adds
  Buffer mlp_out_;  ///< the same of the MLP where attention and MLP are parallel, else empty
};

}  // namespace mechsweep
