#include "model/rotary.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>

#include <ATen/ATen.h>

#include "core/error.h"
#include "model/row_kernels.h"

namespace mechsweep {

namespace {

/// Positions whose cosines and sines are kept.
constexpr int kTurnsKept = 4096;

void scale_llama3(const RopeConfig& rope, std::vector<float>& frequencies) {
  const double length = rope.original_positions;
  const auto longest = static_cast<float>(length / rope.low_freq_factor);
  const auto shortest = static_cast<float>(length / rope.high_freq_factor);
  const auto factor = static_cast<float>(rope.factor);
  for (float& frequency : frequencies) {
    const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / frequency;
    if (wavelength > longest) {
      frequency /= factor;
    } else if (wavelength >= shortest) {
      const float smooth =
          (static_cast<float>(length) / wavelength - static_cast<float>(rope.low_freq_factor)) /
          static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
      frequency = (1.0F - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

/// The dimension whose wavelength fits the original context so many times.
double correction_dimension(const RopeConfig& rope, double rotations) {
  return rope.dimensions *
         std::log(rope.original_positions / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(rope.theta));
}

/// Slow frequencies are interpolated, fast ones are left, in between a ramp mixes them.
void scale_yarn(const RopeConfig& rope, const std::vector<float>& powers,
                std::vector<float>& frequencies) {
  double low = correction_dimension(rope, rope.beta_fast);
  double high = correction_dimension(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, rope.dimensions - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0F - std::clamp(ramp, 0.0F, 1.0F);
    const float interpolated = 1.0F / (static_cast<float>(rope.factor) * powers[i]);
    frequencies[i] = interpolated * (1.0F - kept) + frequencies[i] * kept;
  }
}

}  // namespace

std::vector<float> rotary_powers(const RopeConfig& rope, int64_t tokens) {
  // The same library calls as transformers makes, in fp32: at long positions one unit in the last
  // place of a frequency is an angle that can be seen.
  at::Tensor theta = at::scalar_tensor(rope.theta, at::kFloat);
  if (rope.scaling == RopeScaling::dynamic && rope.rotation_of(tokens) != 0) {
    const at::Tensor length = at::scalar_tensor(tokens, at::kLong);
    const at::Tensor growth = rope.factor * length / rope.original_positions - (rope.factor - 1.0);
    theta = rope.theta * at::pow(growth, rope.dimensions / (rope.dimensions - 2.0));
  }
  const at::Tensor exponents = at::arange(0, rope.dimensions, 2, at::kFloat) / rope.dimensions;
  const at::Tensor powers = at::pow(theta, exponents).contiguous();
  const float* values = powers.const_data_ptr<float>();
  return {values, values + powers.numel()};
}

std::vector<float> rotary_frequencies(const RopeConfig& rope, const std::vector<float>& powers,
                                      int64_t tokens) {
  std::vector<float> frequencies;
  frequencies.reserve(powers.size());
  for (const float power : powers) frequencies.push_back(1.0F / power);
  switch (rope.scaling) {
    case RopeScaling::none:
    case RopeScaling::dynamic:
      break;
    case RopeScaling::linear:
      for (float& frequency : frequencies) frequency /= static_cast<float>(rope.factor);
      break;
    case RopeScaling::llama3:
      scale_llama3(rope, frequencies);
      break;
    case RopeScaling::yarn:
      scale_yarn(rope, powers, frequencies);
      break;
    case RopeScaling::factors:
      ensure(rope.frequency_factors.size() == powers.size(), "a frequency has no factor");
      for (size_t i = 0; i < powers.size(); ++i)
        frequencies[i] /= static_cast<float>(rope.frequency_factors[i]);
      break;
    case RopeScaling::longrope: {
      const std::vector<double>& factors =
          rope.rotation_of(tokens) == 0 ? rope.frequency_factors : rope.long_frequency_factors;
      ensure(factors.size() == powers.size(), "longrope has too few factors");
      for (size_t i = 0; i < powers.size(); ++i)
        frequencies[i] = 1.0F / (static_cast<float>(factors[i]) * powers[i]);
      break;
    }
  }
  return frequencies;
}

Rotary::Rotary(const RopeConfig& rope, int64_t tokens, int max_positions)
    : interleaved_(rope.interleaved),
      factor_(static_cast<float>(rope.attention_factor)),
      frequencies_(rotary_frequencies(rope, rotary_powers(rope, tokens), tokens)) {
  const int64_t width = 2 * std::ssize(frequencies_);
  const int kept = std::min(kTurnsKept, max_positions);
  turns_.resize(kept * width);
  for (int32_t position = 0; position < kept; ++position)
    compute_turns(position, turns_.data() + position * width);
}

void Rotary::compute_turns(int32_t position, float* turns) const {
  // Angles in fp32, as transformers computes them: at long positions fp64 angles would differ.
  const size_t half = frequencies_.size();
  for (size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * frequencies_[i];
    turns[i] = std::cos(angle) * factor_;
    turns[half + i] = std::sin(angle) * factor_;
  }
}

void Rotary::turn(float* vectors, int heads, int64_t head_size, int32_t position) const {
  const auto half = std::ssize(frequencies_);
  const float* turns = turns_.data() + position * 2 * half;
  std::vector<float> computed;
  if (position * 2 * half >= std::ssize(turns_)) {
    computed.resize(2 * half);
    compute_turns(position, computed.data());
    turns = computed.data();
  }
  if (interleaved_) {
    rotate_neighbours(vectors, heads, head_size, turns, half);
  } else {
    rotate_heads(vectors, heads, head_size, turns, half);
  }
}

Rotations::Rotations(const RopeConfig& rope, int max_positions)
    : rope_(rope), original_(rope, 0, max_positions) {}

const Rotary& Rotations::of(int64_t rotation, int64_t tokens) const {
  if (rotation == 0) return original_;
  {
    const std::shared_lock lock(mutex_);
    const auto found = others_.find(rotation);
    if (found != others_.end()) return *found->second;
  }
  const std::unique_lock lock(mutex_);
  std::unique_ptr<Rotary>& place = others_[rotation];
  if (!place) place = std::make_unique<Rotary>(rope_, tokens, static_cast<int>(tokens));
  return *place;
}

void Rotations::turn(float* vectors, int heads, int64_t head_size, TokenPlace place) const {
  of(rope_.rotation_of(place.tokens), place.tokens).turn(vectors, heads, head_size, place.position);
}

}  // namespace mechsweep
