#include "engine/row_actions.h"

#include <algorithm>

namespace mechsweep {

void RowActions::add(int layer, Site site, const RowAction& action) {
  actions_[{layer, site}].push_back(action);
}

void RowActions::finish() {
  for (auto& [key, list] : actions_)
    std::stable_sort(list.begin(), list.end(),
                     [](const RowAction& a, const RowAction& b) { return a.row < b.row; });
}

void RowActions::apply(int layer, Site site, int64_t row_begin, int64_t rows, float* data,
                       int64_t width) const {
  const auto found = actions_.find({layer, site});
  if (found == actions_.end()) return;
  const auto& list = found->second;
  auto action = std::lower_bound(list.begin(), list.end(), row_begin,
                                 [](const RowAction& a, int64_t row) { return a.row < row; });
  for (; action != list.end() && action->row < row_begin + rows; ++action) {
    float* place = data + (action->row - row_begin) * width + action->column;
    switch (action->kind) {
      case RowAction::Kind::zero:
        std::fill_n(place, action->count, 0.0F);
        break;
      case RowAction::Kind::write:
        std::copy_n(action->source, action->count, place);
        break;
      case RowAction::Kind::capture:
        std::copy_n(place, action->count, action->destination);
        break;
    }
  }
}

}  // namespace mechsweep
