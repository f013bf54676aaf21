#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/intervention.h"
#include "experiments/array_spec.h"
#include "experiments/selection.h"
#include "model/model_config.h"

namespace mechsweep {

/// The places of the axes that say where in the model an edit acts: layer and head, a named head, a
/// set of heads, or a layer alone for sites without heads.
class HeadGrid {
 public:
  /// Heads are the site's: query heads or key/value heads. Throws Error{usage} when the model lacks
  /// a layer or head.
  HeadGrid(const HeadSelection& heads, const LayerSelection& layers, Site site,
           const ModelConfig& model);

  [[nodiscard]] const std::vector<Axis>& axes() const { return axes_; }

  /// The layers of all places, ascending.
  [[nodiscard]] std::vector<int> layers() const;

  struct LayerHeads {
    int layer = 0;
    std::vector<int32_t> heads;  ///< empty for sites without heads
  };
  /// What the leading indices of a place stand for: one layer with its heads, several for a set.
  [[nodiscard]] std::vector<LayerHeads> at(std::span<const int64_t> place) const;

 private:
  std::vector<Axis> axes_;
  std::vector<std::vector<LayerHeads>> first_;  ///< by the first index
  bool head_axis_ = false;
};

/// Checks that `heads` and `layers` go together: named heads carry their own layers.
void check_heads_and_layers(const HeadSelection& heads, const LayerSelection& layers,
                            MapReader& reader);

}  // namespace mechsweep
