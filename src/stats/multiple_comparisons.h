#pragma once

#include <span>
#include <vector>

namespace mechsweep {

/// q-values of Benjamini and Hochberg, "Controlling the false discovery rate", JRSS B 57 (1995)
/// 289-300: with m p-values in ascending order, q_(i) = min over j >= i of p_(j) * m / j. Calling
/// all with q <= a keeps the expected share of false discoveries at a, for p-values that are
/// independent or positively dependent. NaN is not a test: left out of m, and NaN in the result.
/// Equal p-values get equal q-values. Every p-value lies in [0, 1].
std::vector<double> benjamini_hochberg(std::span<const double> p_values);

/// p-values adjusted for all of them together by Holm, "A simple sequentially rejective multiple
/// test procedure", Scandinavian Journal of Statistics 6 (1979) 65-70: max over j <= i of
/// p_(j) * (m - j + 1), at most 1. Holds under any dependence; sign_flip_tests has more power where
/// cells are dependent. NaN as above.
std::vector<double> holm(std::span<const double> p_values);

}  // namespace mechsweep
