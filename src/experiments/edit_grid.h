#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/intervention.h"
#include "experiments/head_grid.h"
#include "experiments/selection.h"
#include "prompts/prompt.h"

namespace mechsweep {

/// Where edits of an ablation or patching run act: the axes of a HeadGrid, then one of positions
/// where `positions: each` asks for it. Turns a place of these axes into edits of one site.
class EditGrid {
 public:
  /// Throws Error{usage} when the model lacks a layer or head, Error{input} when a prompt lacks a
  /// position or span.
  EditGrid(HeadGrid heads, PositionSelection positions, const PromptSet& prompts);

  [[nodiscard]] const std::vector<Axis>& axes() const { return axes_; }
  /// The layers of all places, ascending.
  [[nodiscard]] std::vector<int> layers() const { return heads_.layers(); }
  /// The positions that edits of a prompt touch, over all places, ascending.
  [[nodiscard]] std::vector<int32_t> positions(const Prompt& prompt) const;

  /// `edit` with layer, heads and positions filled in, once for every layer of the place (indices
  /// of further axes may follow); nothing where the place lies past the prompt's end.
  [[nodiscard]] std::optional<std::vector<Edit>> edits(const Prompt& prompt,
                                                       std::span<const int64_t> place,
                                                       const Edit& edit) const;

 private:
  HeadGrid heads_;
  PositionSelection positions_;
  std::vector<Axis> axes_;
};

}  // namespace mechsweep
