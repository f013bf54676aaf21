#pragma once

namespace mechsweep {

/// Probability that a standard normal variable is at most `x`; keeps its relative precision in the
/// lower tail.
double normal_cdf(double x);

/// The inverse of normal_cdf: Wichura, "Algorithm AS 241: the percentage points of the normal
/// distribution", Applied Statistics 37 (1988) 477-484, routine PPND16 (relative error about
/// 1e-16). `p` = 0 and 1 give minus and plus infinity, anything outside [0, 1] gives NaN.
double normal_quantile(double p);

}  // namespace mechsweep
