#include "model/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

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

std::vector<float> rotary_frequencies(const RopeConfig& rope, std::vector<float> powers) {
  std::vector<float> frequencies;
  frequencies.reserve(powers.size());
  for (const float power : powers) frequencies.push_back(1.0F / power);
  switch (rope.scaling) {
    case RopeScaling::none:
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
    case RopeScaling::longrope:
      ensure(rope.frequency_factors.size() == powers.size(), "longrope has too few factors");
      for (size_t i = 0; i < powers.size(); ++i)
        frequencies[i] = 1.0F / (static_cast<float>(rope.frequency_factors[i]) * powers[i]);
      break;
  }
  return frequencies;
}

Rotary::Rotary(const RopeConfig& rope, std::vector<float> powers, int max_positions)
    : interleaved_(rope.interleaved),
      factor_(static_cast<float>(rope.attention_factor)),
      frequencies_(rotary_frequencies(rope, std::move(powers))) {
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

}  // namespace mechsweep
