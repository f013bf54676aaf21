#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"

namespace mechsweep::testing {

/// tests/golden/stats.json, made by make_stats_goldens.py from NumPy, SciPy and statsmodels.
inline const Json& stats_golden() {
  static const Json golden =
      Json::parse(std::ifstream(MECHSWEEP_SOURCE_DIR "/tests/golden/stats.json"));
  return golden;
}

/// A number of the golden file; null is NaN.
inline double number(const Json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

/// An array of any depth, flattened row by row.
inline std::vector<double> numbers(const Json& array) {
  std::vector<double> result;
  for (const Json& item : array) {
    if (item.is_array()) {
      const auto inner = numbers(item);
      result.insert(result.end(), inner.begin(), inner.end());
    } else {
      result.push_back(number(item));
    }
  }
  return result;
}

/// Within `tolerance`, or both NaN.
inline void expect_same(double actual, double expected, double tolerance, const std::string& what) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual)) << what << " is " << actual;
  } else {
    EXPECT_NEAR(actual, expected, tolerance) << what;
  }
}

/// The same for arrays.
inline void expect_all_same(std::span<const double> actual, std::span<const double> expected,
                            double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i)
    expect_same(actual[i], expected[i], tolerance, what + " " + std::to_string(i));
}

/// Every prompt its own cluster.
inline std::vector<int> own_clusters(int count) {
  std::vector<int> clusters(count);
  std::iota(clusters.begin(), clusters.end(), 0);
  return clusters;
}

}  // namespace mechsweep::testing
