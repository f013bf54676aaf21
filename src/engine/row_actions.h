#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "engine/site.h"

namespace mechsweep {

/// What happens to part of one row of an activation at a site.
struct RowAction {
  enum class Kind { zero, write, capture };
  Kind kind = Kind::zero;
  int64_t row = 0;  ///< row of the batch
  int64_t column = 0;
  int64_t count = 0;
  const float* source = nullptr;  ///< write: `count` floats
  float* destination = nullptr;   ///< capture: `count` floats
};

/// The actions of a batch, by layer and site.
class RowActions {
 public:
  void add(int layer, Site site, const RowAction& action);
  /// Sorts by row; call once, before apply.
  void finish();
  /// Applies what concerns rows [row_begin, row_begin + rows) to `data` [rows, width], in the order
  /// in which the actions of a row were added.
  void apply(int layer, Site site, int64_t row_begin, int64_t rows, float* data,
             int64_t width) const;

 private:
  std::map<std::pair<int, Site>, std::vector<RowAction>> actions_;
};

}  // namespace mechsweep
