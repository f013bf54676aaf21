#include "stats/statistic_table.h"

#include <gtest/gtest.h>

#include <set>

namespace mechsweep {
namespace {

TEST(StatisticTable, NamesAreUniqueAndSummariesFitOneLine) {
  std::set<std::string_view> names;
  for (const StatisticEntry& entry : statistic_table()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name << " is listed twice";
    EXPECT_FALSE(entry.summary.empty()) << entry.name;
    EXPECT_LE(entry.summary.size(), 80U) << entry.name;
    EXPECT_EQ(entry.summary.find('\n'), std::string_view::npos) << entry.name;
  }
  for (const char* promised : {"mean", "bca", "percentile", "ratio_of_means", "layer_profile"})
    EXPECT_TRUE(names.contains(promised)) << promised;
}

}  // namespace
}  // namespace mechsweep
