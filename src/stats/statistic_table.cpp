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
      StatisticEntry{"p_value", "sign-flip test of a head's effect or excess over its null"},
      StatisticEntry{"p_adjusted", "the same among all heads (maximum statistic)"},
      StatisticEntry{"q_value", "the same by Benjamini and Hochberg"},
      StatisticEntry{"null_band", "where a layer profile lies at shuffled sources of matched lags"},
      StatisticEntry{"profile_shape", "peak, centroid and bandwidth of a layer profile"},
      StatisticEntry{"head_permutation", "profiles of heads put at random over all layers"},
      StatisticEntry{"layer_profile", "mean over the heads of each layer, with intervals"},
      StatisticEntry{"controls", "chosen sets of heads beside random ones, with p-values"},
  };
  return kTable;
}

}  // namespace mechsweep
