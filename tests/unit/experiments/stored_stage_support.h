#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "unit/experiments/experiment_support.h"

// What stages stored, without a file.

namespace mechsweep::test_experiments {

/// A run that takes its heads from the run `s`.
inline Json top_json(const Json& k = {1, 2, 4}) {
  return {
      {"operation", "zero"},
      {"positions", "all"},
      {"heads", {{"top", {{"from", "s"}, {"by", "mean(delta_loss)"}, {"k", k}, {"on", "half_a"}}}}},
      {"evaluate", "half_b"}};
}

inline std::vector<double> widened(ElementType type, const ArrayBlock& block) {
  const auto as_doubles = [](const auto& values) {
    return std::vector<double>(values.begin(), values.end());
  };
  if (type == ElementType::f64) return values_of<double>(block);
  if (type == ElementType::f32) return as_doubles(values_of<float>(block));
  if (type == ElementType::i32) return as_doubles(values_of<int32_t>(block));
  return as_doubles(values_of<uint8_t>(block));
}

/// A stage whose only unit gave this.
inline StoredStage stored_stage(const Run& run, int stage, const UnitResult& result) {
  StoredStage stored;
  size_t next = 0;
  for (const ArraySpec& array : run.arrays())
    if (array.stage == stage)
      stored.arrays.push_back(
          {array.name, array.axes, widened(array.type, result.blocks.at(next++))});
  return stored;
}

/// Answers from what was put into it, and counts how often it was asked.
class KeptResults final : public StoredResults {
 public:
  [[nodiscard]] StoredStage read(const std::string& run_id, int stage) const override {
    ++reads;
    return stages.at({run_id, stage});
  }
  std::map<std::pair<std::string, int>, StoredStage> stages;
  mutable int reads = 0;
};

}  // namespace mechsweep::test_experiments
