#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "model/kernel_set.h"

namespace mechsweep {

/// One thing that was tried on this machine.
struct SelftestCheck {
  std::string name;
  bool passed = false;
  std::string detail;  ///< one sentence: what was compared, or a speed
};

/// Proves on the machine at hand, with a small random model of SmolLM2's shapes, that results are
/// equal bit for bit whatever the executor, batch, order, memory budget, thread count (1 against
/// `threads`) and place in a panel; measures the speed of a matrix product. Takes under three
/// seconds on one core. A library that fails is reported by a check, not thrown. Throws
/// Error{usage} for an unknown dtype.
std::vector<SelftestCheck> run_selftest(KernelSet kernels, const std::string& dtype, int threads);

/// What a run tells of the machine that it computes on.
struct StartupVerdict {
  bool bit_exact = false;
  int64_t compared = 0;  ///< interventions that both executors ran
  /// Largest difference of a loss between the executors, nats; 0 where bit-exact.
  double tolerance = 0.0;
  double elapsed_s = 0.0;
  std::string failure;  ///< why nothing could be compared, else empty

  [[nodiscard]] Json to_json() const;
};

/// The part of the self-test that every run makes before it starts, in well under a second: random
/// interventions at every site by both executors, with 1 and `threads` threads.
StartupVerdict startup_selftest(KernelSet kernels, const std::string& dtype, int threads);

}  // namespace mechsweep
