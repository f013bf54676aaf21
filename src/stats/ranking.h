#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mechsweep {

/// The indices of `values` from the largest value to the smallest; equal values by index, NaN last.
std::vector<int64_t> order_descending(std::span<const double> values);

/// The indices of the `k` largest values, in the order of order_descending. Throws Error{usage}
/// when k is below 1 or above the number of values that are not NaN.
std::vector<int64_t> top_k(std::span<const double> values, int64_t k);

/// The middle value, or the mean of the two middle ones. NaN values are left out; NaN when none is
/// left.
double median(std::span<const double> values);

/// The number of values above 0.
int64_t count_positive(std::span<const double> values);

/// count_positive divided by the number of values that are not NaN; NaN when there is none.
double fraction_positive(std::span<const double> values);

}  // namespace mechsweep
