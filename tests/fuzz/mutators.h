#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include "readers.h"

// Changes to files that keep most of their structure, so that they get past the first check.

namespace mechsweep::fuzz {

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  /// Uniform in [0, count); 0 for none.
  size_t below(size_t count) {
    return count < 2 ? 0 : std::uniform_int_distribution<size_t>(0, count - 1)(engine_);
  }
  bool one_in(size_t count) { return below(count) == 0; }
  template <typename T>
  const T& of(std::span<const T> items) {
    return items[below(items.size())];
  }
  /// A number at the edge of some type, or a small one.
  uint64_t hostile_number();

 private:
  std::minstd_rand engine_;
};

/// The bytes with a few changes, or nothing where they are too broken to have a structure.
std::optional<std::string> mutate(Format format, std::string_view bytes, Random& random);

/// A JSON document with a few changes, which may leave it no longer one.
std::optional<std::string> mutate_json(std::string_view text, Random& random);
std::optional<std::string> mutate_gguf(std::string_view bytes, Random& random);

}  // namespace mechsweep::fuzz
