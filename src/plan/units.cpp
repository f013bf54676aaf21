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

/// Into how many even parts prompts and the first axis are cut.
struct Cut {
  int64_t prompt_parts = 1;
  int64_t first_parts = 1;
};

Cut cut_of(const StageSpec& spec, int64_t prompts, int64_t firsts, double total) {
  const double target = std::clamp(total / kFewestUnits, kSmallestUnitFlops, kUnitFlops);
  // What a decision may leave out is a unit of its own, so that nothing else is left out with it.
  if (spec.may_skip)
    return {parts_for(prompts, total / static_cast<double>(firsts), target), firsts};
  // Units hold whole prompts where they can, since edits of one prompt share their base run.
  const int64_t prompt_parts = parts_for(prompts, total, target);
  const double per_part = total / static_cast<double>(prompt_parts);
  return {prompt_parts, spec.first_size > 0 ? parts_for(firsts, per_part, target) : 1};
}

}  // namespace

std::vector<Unit> cut_units(const std::string& run_id, int run, int stage, const StageSpec& spec,
                            int64_t prompts, const Run& costs) {
  ensure(prompts > 0, "a run has no prompts");
  if (spec.decides) return {{.id = unit_id(run_id, spec.name, {}, {}), .run = run, .stage = stage}};
  const int64_t firsts = std::max<int64_t>(1, spec.first_size);
  double total = 0.0;
  for (int64_t p = 0; p < prompts; ++p) {
    total += costs.shared_flops(stage, p);
    for (int64_t f = 0; f < firsts; ++f) total += costs.flops(stage, p, f);
  }
  const auto [prompt_parts, first_parts] = cut_of(spec, prompts, firsts, total);
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

UnitResult compute_unit(const PlannedRun& run, const Unit& unit, const StoredResults& stored,
                        const std::function<Executor&()>& executor) {
  const StageSpec& stage = run.stages[unit.stage];
  if (stage.decides) return run.run->decide(unit.stage, stored);
  if (stage.may_skip && run.run->is_left_out(unit.stage, unit.first, stored)) {
    UnitResult nothing;
    nothing.skipped = true;
    return nothing;
  }
  return run.run->execute(unit.stage, unit.prompts, unit.first, {executor(), &stored});
}

}  // namespace mechsweep
