#include "stats/p_value.h"

#include "core/error.h"

namespace mechsweep {

double monte_carlo_p_value(int64_t at_least, int64_t draws) {
  ensure(0 <= at_least && at_least <= draws, "extreme draws are draws");
  return static_cast<double>(1 + at_least) / static_cast<double>(1 + draws);
}

}  // namespace mechsweep
