#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/results_file.h"

namespace mechsweep {

/// What the self-tests of a file's launches say together (docs/engine.md, "Self-test").
struct BitExactness {
  int launches = 0;
  int tested = 0;               ///< launches with a self-test on record
  bool exact = false;           ///< every test on record found equal bits
  double tolerance_nats = 0.0;  ///< else: the largest difference of a loss
  std::string why;              ///< else: that difference in words, or what failed

  /// "yes", "yes in 1 of 2 launches; the others have no self-test on record", or "NO: losses differ
  /// by up to 2e-07 nats (bfloat16, rank 3)".
  [[nodiscard]] std::string text() const;
};

/// Of all launches, since each may have filled units; nothing where none has a self-test on record,
/// as in summary files. Facts of another shape than a run writes count as none.
std::optional<BitExactness> bit_exactness(const std::vector<AttemptRecord>& attempts);

}  // namespace mechsweep
