#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "core/thread_pool.h"
#include "engine/executor.h"
#include "engine/row_actions.h"
#include "model/model.h"

namespace mechsweep {

/// A token sequence in a batch of rows: its rows follow one another.
struct BatchSequence {
  std::span<const int32_t> tokens;
  int64_t first_row = 0;
  int64_t task = 0;  ///< for the observer
};

/// One whole forward pass of sequences of any lengths, row beside row without padding between them:
/// every row of every layer is computed. Row actions happen on the way.
class FullForward {
 public:
  FullForward(const Model& model, ThreadPool& pool, std::span<const BatchSequence> sequences,
              const RowActions& actions, AttentionObserver* observer);

  /// Runs all layers; afterwards resid_row gives the final residual stream.
  void run();
  [[nodiscard]] const float* resid_row(int64_t row) const;

  /// Bytes of activations that a row takes.
  static int64_t bytes_per_row(const ModelConfig& config);

 private:
  void embed();
  void project_panel(int layer, int64_t panel);
  void attend(int layer, int64_t sequence, int kv_head);
  void finish_panel(int layer, int64_t panel);
  [[nodiscard]] at::Tensor panel_of(const at::Tensor& rows, int64_t panel) const;
  void act(int layer, Site site, int64_t panel, at::Tensor& rows) const;

  const Model& model_;
  ThreadPool& pool_;
  std::span<const BatchSequence> sequences_;
  const RowActions& actions_;
  AttentionObserver* observer_;
  int64_t panels_ = 0;
  std::vector<int32_t> positions_;  ///< of every row, padding rows 0
  at::Tensor resid_;                ///< [R, D], R a multiple of kPanelRows
  at::Tensor qkv_;                  ///< [R, (H + 2 K) E]
  at::Tensor z_;                    ///< [R, H E]
};

}  // namespace mechsweep
