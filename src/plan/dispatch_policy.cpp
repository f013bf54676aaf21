#include "plan/dispatch_policy.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace mechsweep {

DispatchPolicy::DispatchPolicy(std::vector<UnitCost> units,
                               std::vector<std::vector<int>> stage_needs, int groups,
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
  }
}

void DispatchPolicy::take_journal(std::span<const JournalledUnit> journalled) {
  for (const JournalledUnit& entry : journalled) {
    ensure(entry.unit >= 0 && entry.unit < std::ssize(units_), "the journal is of these units");
    State& state = states_[entry.unit];
    ensure(state != State::journalled, "the journal holds a unit once");
    state = State::journalled;
    --left_;
    Model& model = model_of(entry.unit);
    model.left_s -= units_[entry.unit].predicted_s;
    measure(model, units_[entry.unit], entry.elapsed_s);
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

void DispatchPolicy::measure(Model& model, const UnitCost& unit, double elapsed_s) {
  if (!(elapsed_s > 0.0) || !std::isfinite(elapsed_s) || unit.predicted_s <= 0.0) return;
  model.measured_s += elapsed_s;
  model.measured_predicted_s += unit.predicted_s;
  if (&model == &models_.back()) return;  // no yardstick for units that do run a model
  measured_s_ += elapsed_s;
  measured_predicted_s_ += unit.predicted_s;
}

double DispatchPolicy::correction(const Model& model) const {
  if (model.measured_predicted_s > 0.0) return model.measured_s / model.measured_predicted_s;
  if (measured_predicted_s_ > 0.0) return measured_s_ / measured_predicted_s_;
  return 1.0;
}

std::optional<int> DispatchPolicy::largest_that_fits(const Model& model,
                                                     double seconds_left) const {
  const double limit_s = seconds_left / correction(model);
  const auto place = model.pool.lower_bound(PoolKey{limit_s, -1});
  if (place == model.pool.end()) return std::nullopt;
  return place->unit;
}

std::optional<int> DispatchPolicy::next(int group, double seconds_left) {
  ensure(group >= 0 && group < std::ssize(groups_), "a known group asks for a unit");
  if (claimable_ == 0 || !(seconds_left >= 0.0)) return std::nullopt;
  const auto unit = choose(groups_[group], seconds_left);
  if (!unit) return std::nullopt;
  Model& model = model_of(*unit);
  model.pool.erase(PoolKey{units_[*unit].predicted_s, *unit});
  model.claimable_s -= units_[*unit].predicted_s;
  states_[*unit] = State::claimed;
  holders_[*unit] = group;
  --claimable_;
  ++in_flight_;
  return unit;
}

std::optional<int> DispatchPolicy::choose(GroupState& group, double seconds_left) {
  if (const auto unit = largest_that_fits(models_.back(), seconds_left)) return unit;
  if (group.current != kNoModel)
    if (const auto unit = largest_that_fits(models_[group.current], seconds_left)) return unit;
  for (const int model : group.home) {
    const auto unit = largest_that_fits(models_[model], seconds_left);
    if (!unit) continue;
    move_to(group, model);
    return unit;
  }
  return help_elsewhere(group, seconds_left);
}

std::optional<int> DispatchPolicy::help_elsewhere(GroupState& group, double seconds_left) {
  std::optional<int> chosen;
  int chosen_model = kNoModel;
  double most_s = -1.0;
  for (int m = 0; m + 1 < std::ssize(models_); ++m) {
    const Model& model = models_[m];
    if (model.pool.empty()) continue;
    // Sums of differences may end a little below zero.
    const double share_s = std::max(0.0, model.claimable_s) * correction(model) /
                           static_cast<double>(model.groups_here + 1);
    if (share_s <= most_s) continue;
    const auto unit = largest_that_fits(model, seconds_left);
    if (!unit) continue;
    most_s = share_s;
    chosen = unit;
    chosen_model = m;
  }
  if (chosen) move_to(group, chosen_model);
  return chosen;
}

void DispatchPolicy::move_to(GroupState& group, int model) {
  if (group.current != kNoModel) --models_[group.current].groups_here;
  group.current = model;
  ++models_[model].groups_here;
}

void DispatchPolicy::make_claimable(int unit) {
  Model& model = model_of(unit);
  // Stages hold their units largest first: the hint makes filling an empty pool linear.
  model.pool.emplace_hint(model.pool.end(), PoolKey{units_[unit].predicted_s, unit});
  model.claimable_s += units_[unit].predicted_s;
  states_[unit] = State::claimable;
  ++claimable_;
}

void DispatchPolicy::finished(int group, int unit, bool ok, double elapsed_s) {
  ensure(unit >= 0 && unit < std::ssize(units_) && states_[unit] == State::claimed &&
             holders_[unit] == group,
         "a group finishes a unit that it claimed");
  states_[unit] = State::journalled;
  --in_flight_;
  --left_;
  Model& model = model_of(unit);
  model.left_s -= units_[unit].predicted_s;
  if (ok) {
    measure(model, units_[unit], elapsed_s);
  } else {
    ++failed_;
  }
  const int stage = units_[unit].stage_group;
  if (--stages_[stage].units_left == 0) open_ready_stages({stage});
}

void DispatchPolicy::drop(int unit) {
  ensure(unit >= 0 && unit < std::ssize(units_) && states_[unit] == State::claimed,
         "only a claimed unit can be dropped");
  --in_flight_;
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
