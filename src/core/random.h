#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mechsweep {

/// One block of Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011): four 32-bit words from a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// A stream of random numbers that depends only on (seed, purpose, index): never on the rank,
/// the time or what was drawn before for another purpose. `purpose` says what the numbers are
/// for, such as "prompts/abna"; `index` is the item's number (prompt, resample, draw).
class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view purpose, uint64_t index = 0);

  /// 32 random bits.
  uint32_t next_u32();
  /// 64 random bits.
  uint64_t next_u64();
  /// Uniform in [0, bound), unbiased (Lemire 2019, "Fast random integer generation in an
  /// interval", by rejection). bound >= 1.
  uint32_t below(uint32_t bound);
  /// Uniform in [0, 1) with 53 bits.
  double uniform();
  /// `count` distinct numbers from [0, population), in random order. count <= population.
  std::vector<uint32_t> sample_without_replacement(uint32_t population, uint32_t count);
  /// A random order of 0..n-1 (Fisher and Yates).
  std::vector<uint32_t> permutation(uint32_t n);

 private:
  std::array<uint32_t, 2> key_{};
  uint64_t index_;
  uint64_t block_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

}  // namespace mechsweep
