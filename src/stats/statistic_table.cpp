#include "stats/statistic_table.h"

#include <array>

namespace mechsweep {

std::span<const StatisticEntry> statistic_table() {
  static constexpr std::array kTable = {
      StatisticEntry{"mean", "mean over prompts of every cell, with its number of prompts"},
      StatisticEntry{"standard_error", "spread of the mean over bootstrap resamples of clusters"},
      StatisticEntry{"percentile", "bootstrap interval between two percentiles of the resamples"},
      StatisticEntry{"bca", "bootstrap interval corrected for bias and skewness (Efron 1987)"},
      StatisticEntry{"ratio_of_means",
                     "mean of one metric over the mean of another, such as recovery, bootstrapped"},
      StatisticEntry{"ranking", "cells in descending order of their mean"},
      StatisticEntry{"median", "middle value of the cells"},
      StatisticEntry{"fraction_positive", "share of the cells whose mean is above zero"},
      StatisticEntry{"layer_profile", "mean over the heads of each layer, with intervals"},
      StatisticEntry{"controls", "chosen sets of heads beside random ones, with p-values"},
  };
  return kTable;
}

}  // namespace mechsweep
