#pragma once

#include <span>
#include <string_view>

namespace mechsweep {

/// A statistic that `reduce` computes, as `mechsweep list statistics` prints it.
struct StatisticEntry {
  std::string_view name;
  std::string_view summary;  ///< one line
};

/// Every statistic there is; the only list.
std::span<const StatisticEntry> statistic_table();

}  // namespace mechsweep
