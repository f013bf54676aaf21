#include "core/group.h"

#include <algorithm>

#include "core/error.h"

namespace mechsweep {

void SoloGroup::all_gather(std::span<const float> mine, std::span<float> all) {
  ensure(mine.size() == all.size(), "an all-gather of one rank must keep the size");
  std::copy(mine.begin(), mine.end(), all.begin());
}

Range even_part(int64_t count, int64_t parts, int64_t index) {
  return {count * index / parts, count * (index + 1) / parts};
}

}  // namespace mechsweep
