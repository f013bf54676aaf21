#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mechsweep {

/// What sign flips are asked for.
struct SignFlipOptions {
  int64_t flips = 10000;  ///< at least 1
  uint64_t seed = 0;
  std::string purpose;  ///< what the random numbers are for
};

/// Patterns of signs, one sign per cluster: all prompts of a cluster flip together, and all cells
/// with them, so that whatever dependence there is inside a cluster and between cells stays.
struct SignFlips {
  int64_t clusters = 0;
  int64_t flips = 0;
  bool exact = false;          ///< every one of the 2^clusters patterns once
  int64_t words = 0;           ///< of 64 clusters each
  std::vector<uint64_t> bits;  ///< [flips, words]; a set bit turns the sign

  [[nodiscard]] bool is_turned(int64_t flip, int64_t cluster) const {
    return ((bits[flip * words + cluster / 64] >> (cluster % 64)) & 1U) != 0;
  }
};

/// All 2^clusters patterns, the one without a turned sign first, when they are no more than
/// options.flips; otherwise that many random ones, pattern b from RandomStream(seed, purpose, b).
/// Throws Error{usage} when flips < 1. clusters >= 1.
SignFlips draw_sign_flips(int64_t clusters, const SignFlipOptions& options);

}  // namespace mechsweep
