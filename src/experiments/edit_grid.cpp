#include "experiments/edit_grid.h"

namespace mechsweep {

EditGrid::EditGrid(HeadGrid heads, PositionSelection positions, const PromptSet& prompts)
    : heads_(std::move(heads)), positions_(std::move(positions)), axes_(heads_.axes()) {
  if (positions_.kind == PositionSelection::Kind::each) {
    axes_.push_back(position_axis(prompts));
  } else {
    for (const Prompt& prompt : prompts.prompts) (void)positions_.resolve(prompt);
  }
}

std::vector<int32_t> EditGrid::positions(const Prompt& prompt) const {
  const PositionSelection all;
  return (positions_.kind == PositionSelection::Kind::each ? all : positions_).resolve(prompt);
}

std::optional<std::vector<Edit>> EditGrid::edits(const Prompt& prompt,
                                                 std::span<const int64_t> place,
                                                 const Edit& edit) const {
  Edit common = edit;
  if (positions_.kind == PositionSelection::Kind::each) {
    const auto position = static_cast<int32_t>(place[heads_.axes().size()]);
    if (position >= static_cast<int32_t>(prompt.tokens.size())) return std::nullopt;
    common.positions = {position};
  } else {
    common.positions = positions_.resolve(prompt);
  }
  std::vector<Edit> list;
  for (auto& [layer, heads] : heads_.at(place)) {
    list.push_back(common);
    list.back().layer = layer;
    list.back().heads = heads;
  }
  return list;
}

}  // namespace mechsweep
