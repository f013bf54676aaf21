#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/config_node.h"
#include "engine/readout.h"
#include "experiments/array_spec.h"
#include "model/model_config.h"

namespace mechsweep {

/// The axis of readings per target; runs with one target a prompt do not have it.
inline constexpr const char* kTargetAxis = "target";

/// What is kept of the logits beside what always is: the optional keys `readouts` (answer_rank, kl)
/// and `top_k`.
struct Readouts {
  bool answer_rank = false;
  bool kl = false;
  int32_t top_k = 0;

  /// The keys `readouts` and `top_k`, to be merged into an experiment's parameters.
  [[nodiscard]] Json to_json() const;
  /// Throws Error{usage} when the vocabulary has fewer than `top_k` tokens.
  void check(const ModelConfig& model) const;
};
Readouts parse_readouts(MapReader& reader);

/// How large a group of readings ("" or "base/" or "donor/") is, and what it holds.
struct ReadingShape {
  int64_t targets = 0;
  int64_t tracked = 0;
  bool answer_rank = false;
  int32_t top_k = 0;
  std::vector<std::string> kl;  ///< names of datasets, in the order of ReadPoint::kl

  /// Datasets of a group.
  [[nodiscard]] int arrays() const;
};

/// The datasets of a group: loss, logit, logit_mean, logsumexp, top1, then those asked for. `axes`
/// come before those of targets and tokens.
std::vector<ArraySpec> reading_arrays(const ReadingShape& shape, const std::string& prefix,
                                      const std::vector<Axis>& axes, int stage, bool split);

/// Collects readings into the blocks of reading_arrays. Places that get none stay NaN (-1 in
/// integers).
class ReadingBlocks {
 public:
  /// `places`: readings are [places, targets].
  ReadingBlocks(const ReadingShape& shape, int first_array, int64_t places);

  /// The readings of one place, one for each of its targets.
  void put(int64_t place, std::span<const Reading> readings);
  /// Adds the blocks, and how many of the numbers put in are not finite.
  void append_to(UnitResult& result) const;

 private:
  void put_one(int64_t at, const Reading& reading);
  /// The value, counted when it is not finite.
  template <typename T>
  T counted(T value);

  ReadingShape shape_;
  int first_array_;
  int64_t non_finite_ = 0;
  std::vector<double> loss_;
  std::vector<float> logit_;
  std::vector<double> mean_;
  std::vector<double> logsumexp_;
  std::vector<int32_t> top1_;
  std::vector<int32_t> answer_rank_;
  std::vector<std::vector<double>> kl_;
  std::vector<int32_t> top_token_;
  std::vector<float> top_logit_;
};

}  // namespace mechsweep
