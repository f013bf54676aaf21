#include "plan/dispatch_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <tuple>
#include <vector>

#include "core/random.h"

namespace mechsweep {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

/// `count` units of one stage group; costs drawn from [1, 2) seconds.
std::vector<UnitCost> random_units(RandomStream& random, int count, int models) {
  std::vector<UnitCost> units;
  for (int i = 0; i < count; ++i)
    units.push_back({static_cast<int>(random.below(models)), 0, 1.0 + random.uniform()});
  return units;
}

/// Stage groups in a random acyclic order, some of them empty.
std::vector<std::vector<int>> random_needs(RandomStream& random, int stages) {
  const auto order = random.permutation(stages);
  std::vector<std::vector<int>> needs(stages);
  for (int i = 1; i < stages; ++i)
    for (uint32_t n = random.below(3); n > 0; --n)
      needs[order[i]].push_back(static_cast<int>(order[random.below(i)]));
  return needs;
}

/// The rules, checked by plain bookkeeping beside the policy.
struct Referee {
  const std::vector<UnitCost>& units;
  const std::vector<std::vector<int>>& needs;
  std::vector<int> left_in_stage;
  std::vector<int> handed_out;  ///< 0 no, 1 claimed, 2 journalled

  Referee(const std::vector<UnitCost>& all, const std::vector<std::vector<int>>& stage_needs)
      : units(all), needs(stage_needs), left_in_stage(stage_needs.size()), handed_out(all.size()) {
    for (const UnitCost& unit : units) ++left_in_stage[unit.stage_group];
  }
  [[nodiscard]] bool is_open(int stage) const {
    return std::all_of(needs[stage].begin(), needs[stage].end(),
                       [this](int need) { return left_in_stage[need] == 0 && is_open(need); });
  }
  void journalled(int unit) {
    handed_out[unit] = 2;
    --left_in_stage[units[unit].stage_group];
  }
  void claimed(int unit, double seconds_left) {
    ASSERT_EQ(handed_out[unit], 0) << "unit " << unit << " was handed out twice";
    handed_out[unit] = 1;
    EXPECT_TRUE(is_open(units[unit].stage_group)) << "unit " << unit << " came before its stage";
    const int crashes = std::min(units[unit].crashes, 2);
    if (seconds_left != kForever) return;
    for (int other = 0; other < std::ssize(units); ++other) {
      if (handed_out[other] == 2 || !is_open(units[other].stage_group)) continue;
      EXPECT_GE(units[other].crashes, crashes) << "unit " << unit << " came before " << other;
    }
  }
};

/// A random sweep: units of up to 2 s or of up to 0.2 s, with stages; some crashed before, some are
/// journalled.
struct RandomSweep {
  RandomStream random;
  int groups, stages;
  std::vector<UnitCost> units;
  std::vector<std::vector<int>> needs;
  std::vector<JournalledUnit> journal;

  explicit RandomSweep(uint64_t seed)
      : random(seed, "dispatch_policy_test"),
        groups(1 + static_cast<int>(random.below(6))),
        stages(1 + static_cast<int>(random.below(8))),
        units(random_units(random, static_cast<int>(random.below(80)), 4)),
        needs(random_needs(random, stages)) {
    const bool short_units = random.below(2) == 0;
    for (int u = 0; u < std::ssize(units); ++u) {
      units[u].stage_group = static_cast<int>(random.below(stages));
      if (short_units) units[u].predicted_s *= 0.1;
      if (random.below(6) == 0) units[u].crashes = static_cast<int>(random.below(5));
      if (random.below(8) == 0) units[u].model = kNoModel;
      if (random.below(5) == 0) journal.push_back({u, 3.0 * random.uniform()});
    }
  }
};

/// Plays one random sweep to its end: groups ask, finish, fail and drop in any order.
std::vector<int> play(uint64_t seed) {
  RandomSweep sweep(seed);
  RandomStream& random = sweep.random;
  Referee referee(sweep.units, sweep.needs);
  for (const JournalledUnit& entry : sweep.journal) referee.journalled(entry.unit);
  DispatchPolicy policy(sweep.units, sweep.needs, sweep.groups, sweep.journal);
  std::vector<std::pair<int, int>> claims;  // group, unit
  std::vector<int> trace;
  const auto ask = [&](int group, double seconds_left) {
    const auto unit = policy.next(group, seconds_left);
    trace.push_back(unit.value_or(-1));
    if (!unit) return false;
    referee.claimed(*unit, seconds_left);
    claims.emplace_back(group, *unit);
    return true;
  };
  for (int turn = 0; turn < 100000 && !policy.all_done(); ++turn) {  // far more than 80 units need
    const int group = static_cast<int>(random.below(sweep.groups));
    const auto action = random.below(10);
    if (action < 6) {
      const bool limited = action == 0;
      const bool got = ask(group, limited ? 1.5 : kForever);
      EXPECT_TRUE(got || limited || policy.waiting()) << "deadlock with seed " << seed;
    } else if (!claims.empty()) {
      const auto place = claims.begin() + random.below(static_cast<uint32_t>(claims.size()));
      const auto [holder, unit] = *place;
      claims.erase(place);
      if (action == 9) {
        policy.drop(unit);
        referee.handed_out[unit] = 0;
      } else {
        policy.finished(holder, unit, action != 8, 2.0 * random.uniform());
        referee.journalled(unit);
      }
    }
  }
  EXPECT_TRUE(policy.all_done()) << "seed " << seed;
  EXPECT_EQ(std::count(referee.handed_out.begin(), referee.handed_out.end(), 2),
            std::ssize(sweep.units));
  return trace;
}

TEST(DispatchPolicySweeps, RandomSweepsHandOutEveryUnitOnceInOrderAndNeverLock) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    play(seed);
    if (::testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(DispatchPolicySweeps, TheSameCallsGiveTheSameAnswers) {
  for (uint64_t seed = 0; seed < 20; ++seed) EXPECT_EQ(play(seed), play(seed));
}

struct Outcome {
  int loads = 0;
  double end_s = 0.0;
  double total_s = 0.0;
  double longest_s = 0.0;
};

struct Running {
  double end_s;
  int group;
  int unit;
  double elapsed_s;
  bool operator>(const Running& other) const {
    return std::tie(end_s, group) > std::tie(other.end_s, other.group);
  }
};

/// Groups that compute at once: every unit takes its predicted time, or up to `noise` more or less.
Outcome simulate(const std::vector<UnitCost>& units, int groups, double noise, uint64_t seed) {
  RandomStream random(seed, "dispatch_policy_test/noise");
  DispatchPolicy policy(units, {{}}, groups);
  Outcome outcome;
  std::vector<int> loaded(groups, kNoModel);
  std::priority_queue<Running, std::vector<Running>, std::greater<>> running;
  const auto start = [&](int group, double now) {
    const auto unit = policy.next(group);
    if (!unit) return;
    if (loaded[group] != units[*unit].model) ++outcome.loads;
    loaded[group] = units[*unit].model;
    const double seconds =
        units[*unit].predicted_s * (1.0 + noise * (2.0 * random.uniform() - 1.0));
    outcome.total_s += seconds;
    outcome.longest_s = std::max(outcome.longest_s, seconds);
    running.push({now + seconds, group, *unit, seconds});
  };
  for (int group = 0; group < groups; ++group) start(group, 0.0);
  while (!running.empty()) {
    const Running ended = running.top();
    running.pop();
    outcome.end_s = ended.end_s;
    policy.finished(ended.group, ended.unit, true, ended.elapsed_s);
    start(ended.group, ended.end_s);
  }
  EXPECT_TRUE(policy.all_done());
  return outcome;
}

TEST(DispatchPolicySweeps, LoadsModelsFewTimesAndKeepsGroupsBusy) {
  // Any schedule needs max(M, n) loads, and cutting the line of models into n parts up to M + n -
  // 1; beyond that each group may help one other model at the end. A policy that ignored models
  // would need about n * M. Graham's bound for list scheduling (1966): no group is idle while a
  // unit waits, so the end is at most total / n + the longest unit.
  for (const auto& [models, groups] : {std::pair{1, 7}, {40, 4}, {10, 16}, {8, 8}, {5, 100}}) {
    for (const double noise : {0.0, 0.3}) {
      RandomStream random(models * 1000 + groups, "dispatch_policy_test/loads");
      const Outcome outcome = simulate(random_units(random, 4000, models), groups, noise, 1);
      EXPECT_LE(outcome.loads, models + 2 * groups) << models << " models, " << groups << " groups";
      EXPECT_GE(outcome.loads, std::max(models, groups));
      EXPECT_LE(outcome.end_s, outcome.total_s / groups + outcome.longest_s);
    }
  }
}

TEST(DispatchPolicySweeps, AMillionUnitsOnTenThousandGroups) {
  RandomStream random(1, "dispatch_policy_test/million");
  const int count = 1'000'000, groups = 10'000;
  const auto units = random_units(random, count, 12);
  DispatchPolicy policy(units, {{}}, groups);
  std::vector<uint8_t> seen(count, 0);
  for (int i = 0; i < count; ++i) {
    const int group = i % groups;
    const auto unit = policy.next(group);
    ASSERT_TRUE(unit.has_value());
    ASSERT_EQ(seen[*unit]++, 0);
    policy.finished(group, *unit, true, units[*unit].predicted_s);
  }
  EXPECT_TRUE(policy.all_done());
}

}  // namespace
}  // namespace mechsweep
