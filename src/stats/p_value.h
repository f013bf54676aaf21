#pragma once

#include <cstdint>

namespace mechsweep {

/// Which values speak against the null hypothesis: far from 0 on either side, large, or small ones.
enum class Alternative { two_sided, greater, less };

/// The p-value of a test with `draws` random draws from the null, `at_least` of which are at least
/// as extreme as what was observed: (1 + at_least) / (1 + draws). The observation is one of the
/// values that the null could have given, so that p is never 0 and P(p <= a) <= a for every a
/// (Phipson and Smyth, "Permutation p-values should never be zero", Statistical Applications in
/// Genetics and Molecular Biology 9 (2010) 39). 0 <= at_least <= draws. Ties count as extreme; it
/// is the caller who decides what rounding makes a tie.
double monte_carlo_p_value(int64_t at_least, int64_t draws);

/// Differences below this share of the summed sizes are rounding: such values tie.
inline constexpr double kRoundingShare = 0x1.0p-40;

}  // namespace mechsweep
