#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "experiments/stored_results.h"
#include "plan/plan.h"
#include "store/file_layout.h"
#include "store/unit_source.h"

namespace mechsweep {

/// What stages of a plan have stored so far, read back unit by unit and checked against the
/// journal. Everything that it is given outlives it.
class StoredStages final : public StoredResults {
 public:
  /// `layout` is results_layout(plan); `unit_names` are for people, by unit.
  StoredStages(const Plan& plan, const FileLayout& layout, const UnitSource& source,
               const std::vector<std::string>& unit_names);

  /// Also throws Error{internal} when the plan has no such stage.
  [[nodiscard]] StoredStage read(const std::string& run_id, int stage) const override;

 private:
  void read_unit(int unit, StoredStage& stage, const std::map<int32_t, size_t>& places) const;

  const Plan& plan_;
  const FileLayout& layout_;
  const UnitSource& source_;
  const std::vector<std::string>& unit_names_;
  SegmentMap map_;
  std::map<std::pair<int, int>, std::vector<int>> units_;  ///< by run and stage
};

}  // namespace mechsweep
