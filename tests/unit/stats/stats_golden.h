#pragma once

#include <fstream>
#include <limits>
#include <vector>

#include "core/json.h"

namespace mechsweep::testing {

/// tests/golden/stats.json, made by make_stats_goldens.py from NumPy and SciPy.
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

}  // namespace mechsweep::testing
