#pragma once

#include <cstdint>
#include <span>

namespace mechsweep {

/// Quantile `p` in [0, 1] of n >= 1 ascending values: linear interpolation at position p * (n - 1),
/// which is NumPy's default ("linear") and what scipy.stats.bootstrap uses; type 7 of Hyndman and
/// Fan 1996.
double quantile_of_sorted(std::span<const double> sorted, double p);

/// What a bootstrap distribution says of one estimate. `low` and `high` bound the central interval
/// of the level asked for.
struct BootstrapIntervals {
  double standard_error = 0.0;  ///< standard deviation of the replicates, divisor n - 1
  double percentile_low = 0.0;
  double percentile_high = 0.0;
  double bca_low = 0.0;
  double bca_high = 0.0;
  int64_t replicates = 0;  ///< finite replicates, the ones that were used
};

/// Intervals with every number NaN and no replicates.
BootstrapIntervals undefined_intervals();

/// Percentile and BCa intervals (bias-corrected and accelerated: Efron, "Better bootstrap
/// confidence intervals", JASA 82 (1987) 171-185; DiCiccio and Efron, "Bootstrap confidence
/// intervals", Statistical Science 11 (1996) 189-228; in the form of Efron and Tibshirani, "An
/// Introduction to the Bootstrap" (1993), eqs. 14.9, 14.10, 14.14 and 14.15).
///
/// `replicates` [B] is reordered; non-finite ones are left out. `jackknife` holds the estimate with
/// each cluster left out. Replicates within `tie_tolerance` (>= 0, in units of the estimate) of the
/// estimate count as equal to it, so that rounding decides nothing. 0 < `level` < 1.
///
/// Conventions: z0 counts ties half and its proportion is kept within [1/(2B), 1 - 1/(2B)]; the
/// acceleration is 0 when the jackknife values agree within the tolerance; where
/// 1 - a (z0 + z) <= 0 the end is the extreme replicate. All replicates tied: standard error 0 and
/// every bound is the estimate. Estimate not finite or fewer than 2 finite replicates: all NaN.
/// A jackknife value that is not finite: BCa bounds NaN.
BootstrapIntervals intervals_of(std::span<double> replicates, double estimate,
                                std::span<const double> jackknife, double level,
                                double tie_tolerance);

}  // namespace mechsweep
