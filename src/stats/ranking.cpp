#include "stats/ranking.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace mechsweep {
namespace {

int64_t count_numbers(std::span<const double> values) {
  return std::count_if(values.begin(), values.end(), [](double v) { return !std::isnan(v); });
}

}  // namespace

std::vector<int64_t> order_descending(std::span<const double> values) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  // NaN compares false with everything, so it needs its own rule to keep the order strict.
  std::sort(order.begin(), order.end(), [values](int64_t a, int64_t b) {
    const bool a_nan = std::isnan(values[a]), b_nan = std::isnan(values[b]);
    if (a_nan != b_nan) return b_nan;
    if (!a_nan && values[a] != values[b]) return values[a] > values[b];
    return a < b;
  });
  return order;
}

std::vector<int64_t> top_k(std::span<const double> values, int64_t k) {
  const int64_t available = count_numbers(values);
  if (k < 1 || k > available)
    fail(ErrorKind::usage, "top: k is {}, but the ranking has {} values; give 1 to {}", k,
         available, available);
  auto order = order_descending(values);
  order.resize(k);
  return order;
}

double median(std::span<const double> values) {
  std::vector<double> numbers;
  std::copy_if(values.begin(), values.end(), std::back_inserter(numbers),
               [](double v) { return !std::isnan(v); });
  if (numbers.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = numbers.begin() + std::ssize(numbers) / 2;
  std::nth_element(numbers.begin(), middle, numbers.end());
  if (numbers.size() % 2 == 1) return *middle;
  return std::midpoint(*std::max_element(numbers.begin(), middle), *middle);
}

int64_t count_positive(std::span<const double> values) {
  return std::count_if(values.begin(), values.end(), [](double v) { return v > 0.0; });
}

double fraction_positive(std::span<const double> values) {
  const int64_t numbers = count_numbers(values);
  if (numbers == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(count_positive(values)) / static_cast<double>(numbers);
}

}  // namespace mechsweep
