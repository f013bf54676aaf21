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

TEST(DispatchPolicy, HandsOutTheLargestFirstAndEqualOnesInPlanOrder) {
  DispatchPolicy policy({{0, 0, 2}, {0, 0, 5}, {0, 0, 2}, {0, 0, 9}, {0, 0, 5}}, {{}}, 2);
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) order.push_back(policy.next(i % 2).value());
  EXPECT_EQ(order, (std::vector<int>{3, 1, 4, 0, 2}));
  EXPECT_EQ(policy.next(0), std::nullopt);
  EXPECT_TRUE(policy.waiting());
  for (int i = 0; i < 5; ++i) policy.finished(i % 2, order[i], true, 1.0);
  EXPECT_TRUE(policy.all_done());
  EXPECT_FALSE(policy.waiting());
}

TEST(DispatchPolicy, AnEmptyPlanIsDone) {
  DispatchPolicy policy({}, {}, 3);
  EXPECT_TRUE(policy.all_done());
  EXPECT_FALSE(policy.waiting());
  EXPECT_EQ(policy.next(2), std::nullopt);
}

TEST(DispatchPolicy, GroupsBeginInProportionToWorkAndStayWithTheirModel) {
  // Work 60, 20, 20 over five groups: three, one and one.
  std::vector<UnitCost> units;
  for (int i = 0; i < 100; ++i) units.push_back({i < 60 ? 0 : i < 80 ? 1 : 2, 0, 1.0});
  DispatchPolicy policy(units, {{}}, 5);
  const std::vector<int> expected{0, 0, 0, 1, 2};
  for (int round = 0; round < 20; ++round)
    for (int group = 0; group < 5; ++group)
      ASSERT_EQ(units[policy.next(group).value()].model, expected[group]) << "round " << round;
}

TEST(DispatchPolicy, AGroupThatRunsOutHelpsWhereMostIsLeft) {
  // Three models of 30 s each for three groups; group 0 is done with its model first.
  std::vector<UnitCost> units{{0, 0, 30}, {1, 0, 14}, {1, 0, 16},
                              {2, 0, 12}, {2, 0, 12}, {2, 0, 6}};
  DispatchPolicy policy(units, {{}}, 3);
  EXPECT_EQ(policy.next(0), 0);
  EXPECT_EQ(policy.next(1), 2);
  EXPECT_EQ(policy.next(2), 3);
  // Left: 14 of model 1, 18 of model 2, one group at each.
  EXPECT_EQ(policy.next(0), 4);
  // Left: 14 of model 1 for one group there, 6 of model 2 for two.
  EXPECT_EQ(policy.next(0), 5);  // stays where it is loaded
  EXPECT_EQ(policy.next(0), 1);
}

TEST(DispatchPolicy, StagesOpenOnlyWhenAllTheyNeedIsJournalled) {
  // 0 -> 1 (a decide unit) -> 2; 3 is empty and needs 2; 4 needs 3.
  std::vector<UnitCost> units{{0, 0, 1}, {0, 0, 1}, {kNoModel, 1, 0}, {0, 2, 5}, {0, 4, 9}};
  DispatchPolicy policy(units, {{}, {0}, {1}, {2}, {3}}, 2);
  EXPECT_EQ(policy.next(0), 0);
  EXPECT_EQ(policy.next(1), 1);
  EXPECT_EQ(policy.next(0), std::nullopt);
  EXPECT_TRUE(policy.waiting());
  policy.finished(0, 0, true, 1.0);
  EXPECT_EQ(policy.next(0), std::nullopt);
  policy.finished(1, 1, false, 1.0);  // failed units are journalled too
  EXPECT_EQ(policy.next(0), 2);
  EXPECT_EQ(policy.next(1), std::nullopt);
  policy.finished(0, 2, true, 0.1);
  EXPECT_EQ(policy.next(1), 3);
  EXPECT_EQ(policy.next(0), std::nullopt);
  policy.finished(1, 3, true, 5.0);
  EXPECT_EQ(policy.next(0), 4);
  policy.finished(0, 4, true, 9.0);
  EXPECT_TRUE(policy.all_done());
  EXPECT_EQ(policy.units_failed(), 1);
}

TEST(DispatchPolicy, UnitsWithoutAModelComeFirst) {
  DispatchPolicy policy({{0, 0, 100}, {kNoModel, 0, 0.01}}, {{}}, 1);
  EXPECT_EQ(policy.next(0), 1);
  EXPECT_EQ(policy.next(0), 0);
}

TEST(DispatchPolicy, ADroppedUnitIsHandedOutAgain) {
  DispatchPolicy policy({{0, 0, 3}, {0, 0, 2}}, {{}}, 2);
  EXPECT_EQ(policy.next(0), 0);
  EXPECT_EQ(policy.next(1), 1);
  policy.drop(0);
  EXPECT_FALSE(policy.waiting());
  EXPECT_EQ(policy.next(1), 0);
  policy.finished(1, 0, true, 3.0);
  policy.finished(1, 1, true, 2.0);
  EXPECT_TRUE(policy.all_done());
}

TEST(DispatchPolicy, StartsNothingThatCannotEndInTime) {
  DispatchPolicy policy({{0, 0, 10}, {0, 0, 4}, {1, 0, 3}, {0, 0, 20}}, {{}}, 1);
  EXPECT_EQ(policy.next(0, 2.9), std::nullopt);
  EXPECT_FALSE(policy.waiting());
  EXPECT_FALSE(policy.all_done());
  EXPECT_EQ(policy.next(0, 9.9), 1);  // the largest that fits
  EXPECT_EQ(policy.next(0, 9.9), 2);  // the own model's units are too long
  EXPECT_EQ(policy.next(0, 9.9), std::nullopt);
  EXPECT_EQ(policy.next(0, 20.0), 3);
  EXPECT_EQ(policy.next(0, -1.0), std::nullopt);
  EXPECT_EQ(policy.next(0, 10.0), 0);
}

TEST(DispatchPolicy, MeasuredSecondsCorrectTheModelsPredictions) {
  DispatchPolicy policy({{0, 0, 10}, {0, 0, 8}, {1, 0, 9}, {0, 0, 4}}, {{}}, 1);
  EXPECT_EQ(policy.next(0), 0);
  policy.finished(0, 0, true, 30.0);  // three times the prediction
  EXPECT_DOUBLE_EQ(policy.predicted_s(1), 24.0);
  EXPECT_DOUBLE_EQ(policy.predicted_s(2), 27.0);  // not measured yet: as the others
  EXPECT_DOUBLE_EQ(policy.work_left_s(), 24.0 + 27.0 + 12.0);
  EXPECT_EQ(policy.next(0, 23.0), 3);
  policy.finished(0, 3, false, 1000.0);  // failures teach nothing
  EXPECT_DOUBLE_EQ(policy.predicted_s(1), 24.0);
  EXPECT_EQ(policy.next(0, 27.5), 1);
  EXPECT_EQ(policy.next(0, 27.5), 2);
  policy.finished(0, 2, true, 4.5);
  EXPECT_DOUBLE_EQ(policy.predicted_s(2), 4.5);
  EXPECT_DOUBLE_EQ(policy.predicted_s(1), 24.0);
}

TEST(DispatchPolicy, JournalledUnitsAreNotHandedOutAndTheirTimesCount) {
  const std::vector<UnitCost> units{{0, 0, 2}, {0, 0, 4}, {0, 1, 8}, {0, 1, 6}};
  const std::vector<JournalledUnit> journal{{0, 1.0}, {1, 2.0}, {3, 0.0}};
  DispatchPolicy policy(units, {{}, {0}}, 1, journal);
  EXPECT_EQ(policy.units_left(), 1);
  EXPECT_DOUBLE_EQ(policy.predicted_s(2), 4.0);  // 3 s for what was predicted as 6 s
  EXPECT_EQ(policy.next(0, 4.0), 2);             // stage 1 is open from the start
  policy.finished(0, 2, true, 4.0);
  EXPECT_TRUE(policy.all_done());
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
  void journalled(int unit) {
    handed_out[unit] = 2;
    --left_in_stage[units[unit].stage_group];
  }
  void claimed(int unit) {
    ASSERT_EQ(handed_out[unit], 0) << "unit " << unit << " was handed out twice";
    handed_out[unit] = 1;
    for (const int need : needs[units[unit].stage_group])
      ASSERT_EQ(left_in_stage[need], 0) << "unit " << unit << " came before stage " << need;
  }
};

/// Plays one random sweep to its end: groups ask, finish, fail and drop in any order.
std::vector<int> play(uint64_t seed) {
  RandomStream random(seed, "dispatch_policy_test");
  const int groups = 1 + static_cast<int>(random.below(6)), stages = 1 + random.below(8);
  auto units = random_units(random, static_cast<int>(random.below(80)), 4);
  const auto needs = random_needs(random, stages);
  std::vector<JournalledUnit> journal;
  Referee referee(units, needs);
  for (int u = 0; u < std::ssize(units); ++u) {
    --referee.left_in_stage[0];
    units[u].stage_group = static_cast<int>(random.below(stages));
    ++referee.left_in_stage[units[u].stage_group];
    if (random.below(8) == 0) units[u].model = kNoModel;
    if (random.below(5) == 0) journal.push_back({u, 3.0 * random.uniform()});
  }
  for (const JournalledUnit& entry : journal) referee.journalled(entry.unit);
  DispatchPolicy policy(units, needs, groups, journal);
  std::vector<std::pair<int, int>> claims;  // group, unit
  std::vector<int> trace;
  int idle = 0;
  while (!policy.all_done()) {
    const int group = static_cast<int>(random.below(groups));
    const auto action = random.below(10);
    if (action < 6 && claims.size() < 2U * groups) {
      const auto unit = policy.next(group, action == 0 ? 1.5 : kForever);
      trace.push_back(unit.value_or(-1));
      if (unit) {
        referee.claimed(*unit);
        claims.emplace_back(group, *unit);
      } else if (action != 0) {
        EXPECT_TRUE(policy.waiting()) << "deadlock with seed " << seed;
      }
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
    if (++idle > 100000) break;  // far more than 80 units need
  }
  EXPECT_TRUE(policy.all_done()) << "seed " << seed;
  EXPECT_EQ(std::count(referee.handed_out.begin(), referee.handed_out.end(), 2), std::ssize(units));
  return trace;
}

TEST(DispatchPolicy, RandomSweepsHandOutEveryUnitOnceInOrderAndNeverLock) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    play(seed);
    if (::testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(DispatchPolicy, TheSameCallsGiveTheSameAnswers) {
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

TEST(DispatchPolicy, LoadsModelsFewTimesAndKeepsGroupsBusy) {
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

TEST(DispatchPolicy, AMillionUnitsOnTenThousandGroups) {
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

TEST(DispatchPolicyDeathTest, BrokenPlansAndCallsAbort) {
  EXPECT_DEATH(DispatchPolicy({{0, 0, 1}}, {{1}, {0}}, 1), "in a circle");
  EXPECT_DEATH(DispatchPolicy({{0, 3, 1}}, {{}}, 1), "is declared");
  EXPECT_DEATH(DispatchPolicy({{0, 0, std::nan("")}}, {{}}, 1), "number of seconds");
  DispatchPolicy policy({{0, 0, 1}}, {{}}, 2);
  EXPECT_DEATH(policy.drop(0), "claimed unit");
  ASSERT_EQ(policy.next(0), 0);
  EXPECT_DEATH(policy.finished(1, 0, true, 1.0), "that it claimed");
}

}  // namespace
}  // namespace mechsweep
