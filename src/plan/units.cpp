#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/hash.h"
#include "plan/plan.h"

namespace mechsweep {

namespace {

std::string unit_id(const std::string& run_id, const std::string& stage, Range prompts,
                    Range first) {
  const Json json = {{"run", run_id},
                     {"stage", stage},
                     {"prompts", {prompts.begin, prompts.end}},
                     {"first", {first.begin, first.end}}};
  return sha256_hex(json.dump());
}

/// Into how many even parts `count` items of this cost are cut.
int64_t parts_for(int64_t count, double flops, double target) {
  const auto wanted = static_cast<int64_t>(std::ceil(flops / target));
  return std::clamp<int64_t>(wanted, 1, count);
}

}  // namespace

std::vector<Unit> cut_units(const std::string& run_id, int run, int stage, const StageSpec& spec,
                            int64_t prompts, const Run& costs) {
  ensure(prompts > 0, "a run has no prompts");
  const int64_t firsts = std::max<int64_t>(1, spec.first_size);
  double total = 0.0;
  for (int64_t p = 0; p < prompts; ++p) {
    total += costs.shared_flops(stage, p);
    for (int64_t f = 0; f < firsts; ++f) total += costs.flops(stage, p, f);
  }
  // Units hold whole prompts where they can, since edits of one prompt share their base run.
  const double target = std::clamp(total / kFewestUnits, kSmallestUnitFlops, kUnitFlops);
  const int64_t prompt_parts = parts_for(prompts, total, target);
  const double per_part = total / static_cast<double>(prompt_parts);
  const int64_t first_parts = spec.first_size > 0 ? parts_for(firsts, per_part, target) : 1;
  std::vector<Unit> units;
  for (int64_t i = 0; i < prompt_parts; ++i)
    for (int64_t j = 0; j < first_parts; ++j) {
      Unit unit{.run = run, .stage = stage, .prompts = even_part(prompts, prompt_parts, i)};
      const Range first = even_part(firsts, first_parts, j);
      for (int64_t p = unit.prompts.begin; p < unit.prompts.end; ++p) {
        unit.flops += costs.shared_flops(stage, p);
        for (int64_t f = first.begin; f < first.end; ++f) unit.flops += costs.flops(stage, p, f);
      }
      if (spec.first_size > 0) unit.first = first;
      unit.id = unit_id(run_id, spec.name, unit.prompts, unit.first);
      units.push_back(std::move(unit));
    }
  return units;
}

}  // namespace mechsweep
