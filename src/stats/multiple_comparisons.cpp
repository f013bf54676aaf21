#include "stats/multiple_comparisons.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/error.h"

namespace mechsweep {
namespace {

/// Indices of the numbers in ascending order of p.
std::vector<int64_t> ascending_tests(std::span<const double> p_values) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < std::ssize(p_values); ++i) {
    if (std::isnan(p_values[i])) continue;
    ensure(p_values[i] >= 0.0 && p_values[i] <= 1.0, "p-values lie between 0 and 1");
    order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [p_values](int64_t a, int64_t b) {
    return p_values[a] != p_values[b] ? p_values[a] < p_values[b] : a < b;
  });
  return order;
}

}  // namespace

std::vector<double> benjamini_hochberg(std::span<const double> p_values) {
  const auto order = ascending_tests(p_values);
  const auto tests = static_cast<double>(order.size());
  std::vector<double> result(p_values.size(), std::numeric_limits<double>::quiet_NaN());
  double smallest = 1.0;
  for (int64_t i = std::ssize(order) - 1; i >= 0; --i) {
    smallest = std::min(smallest, p_values[order[i]] * tests / static_cast<double>(i + 1));
    result[order[i]] = smallest;
  }
  return result;
}

std::vector<double> holm(std::span<const double> p_values) {
  const auto order = ascending_tests(p_values);
  std::vector<double> result(p_values.size(), std::numeric_limits<double>::quiet_NaN());
  double largest = 0.0;
  for (int64_t i = 0; i < std::ssize(order); ++i) {
    const auto left = static_cast<double>(std::ssize(order) - i);
    largest = std::max(largest, std::min(1.0, p_values[order[i]] * left));
    result[order[i]] = largest;
  }
  return result;
}

}  // namespace mechsweep
