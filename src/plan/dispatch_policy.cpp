#include "plan/dispatch_policy.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace mechsweep {

DispatchPolicy::DispatchPolicy(std::vector<UnitCost> units,
                               const std::vector<std::vector<int>>& stage_needs, int groups,
                               std::span<const JournalledUnit> journalled)
    : units_(std::move(units)),
      states_(units_.size(), State::blocked),
      holders_(units_.size(), -1),
      stages_(stage_needs.size()),
      left_(std::ssize(units_)) {
  check_units(groups);
  int models = 0;
  for (const UnitCost& unit : units_) models = std::max(models, unit.model + 1);
  models_.resize(models + 1);
  groups_.resize(groups);
  for (const UnitCost& unit : units_) {
    Model& model = unit.model == kNoModel ? models_.back() : models_[unit.model];
    model.left_s += unit.predicted_s;
  }
  take_journal(journalled);
  link_stages(stage_needs);
  lay_out_models();
}

void DispatchPolicy::check_units(int groups) const {
  ensure(groups >= 1, "units are dispatched to at least one group");
  for (const UnitCost& unit : units_) {
    ensure(unit.model >= kNoModel, "a unit has a model or none");
    ensure(unit.stage_group >= 0 && unit.stage_group < std::ssize(stages_),
           "every stage group of a unit is declared");
    ensure(std::isfinite(unit.predicted_s) && unit.predicted_s >= 0.0,
           "a predicted cost is a number of seconds");
    ensure(unit.crashes >= 0, "a unit crashed some number of times");
  }
}

void DispatchPolicy::take_journal(std::span<const JournalledUnit> journalled) {
  for (const JournalledUnit& entry : journalled) {
    ensure(entry.unit >= 0 && entry.unit < std::ssize(units_), "the journal is of these units");
    State& state = states_[entry.unit];
    ensure(state != State::journalled, "the journal holds a unit once");
    state = State::journalled;
    --left_;
    model_of(entry.unit).left_s -= units_[entry.unit].predicted_s;
    // The journal does not tell which units had a model loaded before them: few, in a long one.
    measure(entry.unit, entry.elapsed_s, false);
  }
}

void DispatchPolicy::link_stages(const std::vector<std::vector<int>>& stage_needs) {
  std::vector<int> order(units_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [this](int a, int b) {
    return PoolKey{units_[a].predicted_s, a} < PoolKey{units_[b].predicted_s, b};
  });
  for (const int unit : order) {
    if (states_[unit] == State::journalled) continue;
    StageGroup& stage = stages_[units_[unit].stage_group];
    stage.units.push_back(unit);
    ++stage.units_left;
  }
  std::vector<int> ready;
  std::vector<int64_t> unmet(stages_.size());
  for (int s = 0; s < std::ssize(stages_); ++s) {
    unmet[s] = stages_[s].needs_left = std::ssize(stage_needs[s]);
    if (unmet[s] == 0) ready.push_back(s);
    for (const int need : stage_needs[s]) {
      ensure(need >= 0 && need < std::ssize(stages_), "a needed stage group is declared");
      stages_[need].opens.push_back(s);
    }
  }
  // Kahn's order: a cycle would leave stage groups that never open, and a sweep that never ends.
  std::vector<int> reached = ready;
  for (size_t i = 0; i < reached.size(); ++i)
    for (const int later : stages_[reached[i]].opens)
      if (--unmet[later] == 0) reached.push_back(later);
  ensure(reached.size() == stages_.size(), "stage groups do not wait for each other in a circle");
  open_ready_stages(std::move(ready));
}

/// Makes the units of these stage groups claimable; a stage group without units left is complete at
/// once and may open others.
void DispatchPolicy::open_ready_stages(std::vector<int> ready) {
  while (!ready.empty()) {
    StageGroup& stage = stages_[ready.back()];
    ready.pop_back();
    for (const int unit : std::exchange(stage.units, {})) make_claimable(unit);
    if (stage.units_left > 0) continue;
    for (const int later : stage.opens)
      if (--stages_[later].needs_left == 0) ready.push_back(later);
  }
}

void DispatchPolicy::lay_out_models() {
  const auto models = std::ssize(models_) - 1;
  const auto groups = std::ssize(groups_);
  std::vector<double> ends(models + 1, 0.0);  // of each model on the line, after its begin
  for (int64_t m = 0; m < models; ++m)
    ends[m + 1] = ends[m] + std::max(0.0, models_[m].left_s * correction(models_[m]));
  const double total = ends.back();
  if (!(total > 0.0)) return;  // nothing to lay out: groups help where work is left

  int64_t first = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const double begin = total * static_cast<double>(g) / static_cast<double>(groups);
    const double end = total * static_cast<double>(g + 1) / static_cast<double>(groups);
    while (first + 1 < models && ends[first + 1] <= begin) ++first;
    std::vector<std::pair<double, int>> shares;
    for (int64_t m = first; m < models && ends[m] < end; ++m) {
      const double share = std::min(end, ends[m + 1]) - std::max(begin, ends[m]);
      // Slivers left by rounding are nobody's.
      if (share > 1e-9 * (end - begin)) shares.emplace_back(-share, static_cast<int>(m));
    }
    std::sort(shares.begin(), shares.end());
    for (const auto& [share, model] : shares) groups_[g].home.push_back(model);
  }
}

DispatchPolicy::Model& DispatchPolicy::model_of(int unit) {
  const int model = units_[unit].model;
  return model == kNoModel ? models_.back() : models_[model];
}

int DispatchPolicy::level_of(int unit) const {
  return std::min(units_[unit].crashes, kLevels - 1);
}

void DispatchPolicy::Measured::add(double elapsed, double predicted) {
  elapsed_s += elapsed;
  predicted_s += predicted;
  ++units;
}

void DispatchPolicy::measure(int unit, double elapsed_s, bool with_loading) {
  const double predicted_s = units_[unit].predicted_s;
  if (!(elapsed_s > 0.0) || !std::isfinite(elapsed_s) || predicted_s <= 0.0) return;
  Model& model = model_of(unit);
  (with_loading ? model.first : model.later).add(elapsed_s, predicted_s);
  // No yardstick for units that do run a model.
  if (units_[unit].model != kNoModel) (with_loading ? first_ : later_).add(elapsed_s, predicted_s);
  // What did not fit into the time left may fit now.
  const double now = correction(model);
  if (model.told_correction > 0.0 && now > 0.95 * model.told_correction) return;
  model.told_correction = now;
  ++changes_;
}

double DispatchPolicy::correction(const Model& model) const {
  for (const Measured* measured : {&model.later, &later_, &model.first, &first_})
    if (measured->predicted_s > 0.0) return measured->elapsed_s / measured->predicted_s;
  return 1.0;
}

/// 0 while nothing is known about it.
double DispatchPolicy::loading_s(const Model& model) const {
  if (model.first.units == 0 || model.later.units == 0) return 0.0;
  const double computing_s = model.first.predicted_s * correction(model);
  return std::max(0.0, model.first.elapsed_s - computing_s) /
         static_cast<double>(model.first.units);
}

std::optional<int> DispatchPolicy::largest_that_fits(const Model& model, int level,
                                                     double seconds_left) const {
  const std::set<PoolKey>& pool = model.pools[level].units;
  if (pool.empty()) return std::nullopt;
  const auto place = pool.lower_bound(PoolKey{seconds_left / correction(model), -1});
  if (place == pool.end()) return std::nullopt;
  return place->unit;
}

bool DispatchPolicy::may_hold_more(const GroupState& group) const {
  if (group.holds.empty()) return true;
  if (claimable_ < std::ssize(groups_)) return false;
  double held_s = 0.0;
  for (const int unit : group.holds) held_s += predicted_s(unit);
  return held_s < kAheadSeconds;
}

std::optional<int> DispatchPolicy::next(int group, double seconds_left) {
  ensure(group >= 0 && group < std::ssize(groups_), "a known group asks for a unit");
  GroupState& state = groups_[group];
  if (claimable_ == 0 || !(seconds_left >= 0.0)) return std::nullopt;
  if (!may_hold_more(state)) return std::nullopt;
  if (state.refused_at == changes_ && seconds_left <= state.refused_s) return std::nullopt;
  const auto unit = choose(state, seconds_left);
  if (unit) {
    claim(group, *unit);
  } else {
    state.refused_at = changes_;
    state.refused_s = seconds_left;
  }
  return unit;
}

bool DispatchPolicy::any_fits(int level, double seconds_left) const {
  return std::any_of(models_.begin(), models_.end(), [&](const Model& model) {
    return largest_that_fits(model, level, seconds_left).has_value();
  });
}

std::optional<int> DispatchPolicy::choose(const GroupState& group, double seconds_left) const {
  for (int level = 0; level < kLevels; ++level) {
    if (levels_[level].claimable > 0) {
      if (const auto unit = choose(group, level, seconds_left)) return unit;
      if (any_fits(level, seconds_left)) return std::nullopt;  // groups that have its model take it
    }
    if (levels_[level].in_flight > 0) return std::nullopt;
  }
  return std::nullopt;
}

std::optional<int> DispatchPolicy::choose(const GroupState& group, int level,
                                          double seconds_left) const {
  if (const auto unit = largest_that_fits(models_.back(), level, seconds_left)) return unit;
  if (group.current != kNoModel)
    if (const auto unit = largest_that_fits(models_[group.current], level, seconds_left))
      return unit;
  for (const int model : group.home)
    if (is_worth_loading(models_[model], level))
      if (const auto unit = largest_that_fits(models_[model], level, seconds_left)) return unit;
  return help_elsewhere(level, seconds_left);
}

bool DispatchPolicy::is_worth_loading(const Model& model, int level) const {
  if (model.pools[level].units.empty()) return false;
  // With nothing in flight, nobody but the group that asks is known to be alive.
  if (model.groups_here == 0 || in_flight_ == 0) return true;
  const double left_s = model.pools[level].predicted_s * correction(model);
  return left_s >= loading_s(model) * static_cast<double>(model.groups_here);
}

std::optional<int> DispatchPolicy::help_elsewhere(int level, double seconds_left) const {
  std::optional<int> chosen;
  double most_s = -1.0;
  for (const Model& model : std::span(models_).first(models_.size() - 1)) {
    if (!is_worth_loading(model, level)) continue;
    const double share_s = std::max(0.0, model.pools[level].predicted_s) * correction(model) /
                           static_cast<double>(model.groups_here + 1);
    if (share_s <= most_s) continue;
    const auto unit = largest_that_fits(model, level, seconds_left);
    if (!unit) continue;
    most_s = share_s;
    chosen = unit;
  }
  return chosen;
}

void DispatchPolicy::claim(int group, int unit) {
  const int level = level_of(unit);
  const double predicted_s = units_[unit].predicted_s;
  Pool& pool = model_of(unit).pools[level];
  pool.units.erase(PoolKey{predicted_s, unit});
  pool.predicted_s -= predicted_s;
  states_[unit] = State::claimed;
  holders_[unit] = group;
  --claimable_;
  --levels_[level].claimable;
  ++in_flight_;
  ++levels_[level].in_flight;
  GroupState& state = groups_[group];
  state.holds.push_back(unit);
  const int model = units_[unit].model;
  if (model == kNoModel || model == state.current) return;
  move_to(state, model);
  state.first_unit = unit;
}

/// The unit is no longer in flight.
void DispatchPolicy::release(int unit) {
  --in_flight_;
  if (--levels_[level_of(unit)].in_flight == 0) ++changes_;  // later levels may come now
  std::erase(groups_[holders_[unit]].holds, unit);
}

void DispatchPolicy::move_to(GroupState& group, int model) {
  if (group.current != kNoModel) --models_[group.current].groups_here;
  group.current = model;
  ++models_[model].groups_here;
}

void DispatchPolicy::make_claimable(int unit) {
  const int level = level_of(unit);
  Pool& pool = model_of(unit).pools[level];
  // Stages hold their units largest first: the hint makes filling an empty pool linear.
  pool.units.emplace_hint(pool.units.end(), PoolKey{units_[unit].predicted_s, unit});
  pool.predicted_s += units_[unit].predicted_s;
  states_[unit] = State::claimable;
  ++claimable_;
  ++levels_[level].claimable;
  ++changes_;
}

void DispatchPolicy::finished(int group, int unit, bool ok, double elapsed_s) {
  ensure(unit >= 0 && unit < std::ssize(units_) && states_[unit] == State::claimed &&
             holders_[unit] == group,
         "a group finishes a unit that it claimed");
  states_[unit] = State::journalled;
  release(unit);
  --left_;
  model_of(unit).left_s -= units_[unit].predicted_s;
  if (ok) {
    measure(unit, elapsed_s, groups_[group].first_unit == unit);
  } else {
    ++failed_;
  }
  const int stage = units_[unit].stage_group;
  if (--stages_[stage].units_left == 0) open_ready_stages({stage});
}

void DispatchPolicy::drop(int unit) {
  ensure(unit >= 0 && unit < std::ssize(units_) && states_[unit] == State::claimed,
         "only a claimed unit can be dropped");
  release(unit);
  make_claimable(unit);
}

double DispatchPolicy::predicted_s(int unit) const {
  ensure(unit >= 0 && unit < std::ssize(units_), "a unit of this plan");
  const int model = units_[unit].model;
  return units_[unit].predicted_s * correction(model == kNoModel ? models_.back() : models_[model]);
}

double DispatchPolicy::work_left_s() const {
  double work_s = 0.0;
  for (const Model& model : models_) work_s += std::max(0.0, model.left_s) * correction(model);
  return work_s;
}

}  // namespace mechsweep
