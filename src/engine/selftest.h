#pragma once

#include <string>
#include <vector>

#include "model/kernel_set.h"

namespace mechsweep {

/// One thing that was tried on this machine.
struct SelftestCheck {
  std::string name;
  bool passed = false;
  std::string detail;  ///< one sentence: what was compared, or a speed
};

/// Proves on the machine at hand, with a small random model of SmolLM2's shapes, that results are
/// equal bit for bit whatever the batch, order, memory budget, thread count (1 against `threads`)
/// and place in a panel; measures the speed of a matrix product. Takes under three seconds on one
/// core. A library that fails is reported by a check, not thrown.
std::vector<SelftestCheck> run_selftest(KernelSet kernels, int threads);

}  // namespace mechsweep
