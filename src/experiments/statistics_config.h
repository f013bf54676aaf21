#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/config_node.h"
#include "core/json.h"
#include "experiments/correct_in.h"

namespace mechsweep {

/// `statistics:` of an experiment: how `reduce` makes its intervals and tests.
struct StatisticsConfig {
  int64_t resamples = 10'000;
  std::string interval = "bca";  ///< which interval figures draw; both are always computed
  double level = 0.95;
  bool cluster_by_template = true;      ///< else every prompt is its own cluster
  int64_t flips = 10'000;               ///< patterns of signs that a test draws at most
  int64_t permutations = 10'000;        ///< of heads across layers, for a profile with a null
  std::optional<CorrectIn> correct_in;  ///< none: every prompt counts

  [[nodiscard]] Json to_json() const;
  /// What an earlier program did not store has its default.
  static StatisticsConfig from_json(const Json& json);
};

/// Reads the optional key `statistics`.
StatisticsConfig parse_statistics(MapReader& reader);

}  // namespace mechsweep
