#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/site.h"

namespace mechsweep {

/// Which of a prompt's two token sequences a run uses.
enum class Side { clean, corrupt };
std::string_view side_name(Side side);

enum class Operation {
  zero,     ///< the activation := 0
  replace,  ///< the activation := the donor run's
};
std::string_view operation_name(Operation operation);

/// One change of one activation: site + layer + heads + positions + operation.
struct Edit {
  Site site = Site::z;
  int layer = 0;
  std::vector<int32_t> heads;      ///< query heads, ascending; only and always for per-head sites
  std::vector<int32_t> positions;  ///< absolute, ascending, prefix included
  Operation operation = Operation::zero;
  Side donor = Side::clean;  ///< replace: the run that the value comes from (same prompt)
};

/// Edits on one base run, applied together: where several stand at one layer they act in the order
/// in which the layer computes their sites.
struct Intervention {
  Side base = Side::clean;
  std::vector<Edit> edits;  ///< none: the base run itself
};

}  // namespace mechsweep
