#include "plan/dispatch_policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mechsweep {
namespace {

TEST(DispatchPolicy, HandsOutTheLargestFirstAndEqualOnesInPlanOrder) {
  DispatchPolicy policy({{0, 0, 2}, {0, 0, 5}, {0, 0, 2}, {0, 0, 9}, {0, 0, 5}}, {{}}, 5);
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) order.push_back(policy.next(i).value());
  EXPECT_EQ(order, (std::vector<int>{3, 1, 4, 0, 2}));
  EXPECT_EQ(policy.next(0), std::nullopt);
  EXPECT_TRUE(policy.waiting());
  for (int i = 0; i < 5; ++i) policy.finished(i, order[i], true, 1.0);
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
    for (int group = 0; group < 5; ++group) {
      const int unit = policy.next(group).value();
      ASSERT_EQ(units[unit].model, expected[group]) << "round " << round;
      policy.finished(group, unit, true, 1.0);
    }
}

TEST(DispatchPolicy, AGroupThatRunsOutHelpsWhereMostIsLeft) {
  // Three models of 30 s each for three groups; group 0 is done with its model first.
  std::vector<UnitCost> units{{0, 0, 30}, {1, 0, 14}, {1, 0, 16},
                              {2, 0, 12}, {2, 0, 12}, {2, 0, 6}};
  DispatchPolicy policy(units, {{}}, 3);
  EXPECT_EQ(policy.next(0), 0);
  EXPECT_EQ(policy.next(1), 2);
  EXPECT_EQ(policy.next(2), 3);
  policy.finished(0, 0, true, 30);
  // Left: 14 of model 1, 18 of model 2, one group at each.
  EXPECT_EQ(policy.next(0), 4);
  policy.finished(0, 4, true, 12);
  // Left: 14 of model 1 for one group there, 6 of model 2 for two.
  EXPECT_EQ(policy.next(0), 5);  // stays where it is loaded
  policy.finished(0, 5, true, 6);
  EXPECT_EQ(policy.next(0), 1);
}

TEST(DispatchPolicy, HelpsOnlyWhereLoadingPays) {
  // Group 1 learns that loading model 1 takes 50 s: 60 s for a unit of 10 s, then 10 s for another.
  std::vector<UnitCost> units{{0, 0, 100}};
  for (int i = 0; i < 10; ++i) units.push_back({1, 0, 10});
  for (const int done : {4, 5, 6}) {
    DispatchPolicy policy(units, {{}}, 2);
    EXPECT_EQ(policy.next(0), 0);
    for (int i = 0; i < done; ++i) {
      const int unit = policy.next(1).value();
      policy.finished(1, unit, true, i == 0 ? 60 : 10);
    }
    ASSERT_TRUE(policy.next(1).has_value());
    policy.finished(0, 0, true, 100);
    // 50, 40 or 30 s are left for the one group that has the model.
    EXPECT_EQ(policy.next(0).has_value(), done == 4) << done;
  }
}

TEST(DispatchPolicy, HoldsNoUnitBackBehindALongOne) {
  DispatchPolicy policy({{0, 0, 9}, {0, 0, 0.9}, {0, 0, 0.2}, {0, 0, 0.2}, {0, 0, 0.2}}, {{}}, 2);
  EXPECT_EQ(policy.next(0), 0);
  EXPECT_EQ(policy.next(0), std::nullopt);  // 9 s are longer than any message takes
  EXPECT_EQ(policy.next(1), 1);
  EXPECT_EQ(policy.next(1), 2);
  EXPECT_EQ(policy.next(1), std::nullopt);  // 1.1 s
  policy.finished(1, 1, true, 0.9);
  EXPECT_EQ(policy.next(1), 3);
  policy.finished(1, 2, true, 0.2);
  EXPECT_EQ(policy.next(1), std::nullopt);  // one is left, and there are two groups
  policy.finished(0, 0, true, 9);
  EXPECT_EQ(policy.next(0), 4);
}

TEST(DispatchPolicy, FewUnitsGoToAsManyGroups) {
  // Every group asks for two units, one after another.
  DispatchPolicy policy(std::vector<UnitCost>(8, {0, 0, 0.1}), {{}}, 8);
  for (int group = 0; group < 8; ++group) {
    EXPECT_TRUE(policy.next(group).has_value());
    EXPECT_EQ(policy.next(group), std::nullopt);
  }
}

TEST(DispatchPolicy, UnitsThatCrashedComeLast) {
  // Crashed twice, never, once, never (of another model), more often, never but later stage.
  const std::vector<UnitCost> units{{0, 0, 9, 2}, {0, 0, 3, 0}, {0, 0, 5, 1},
                                    {1, 0, 1, 0}, {1, 0, 8, 7}, {kNoModel, 1, 1, 0}};
  DispatchPolicy policy(units, {{}, {0}}, 2);
  EXPECT_EQ(policy.next(0), 1);
  EXPECT_EQ(policy.next(1), 3);
  policy.finished(1, 3, true, 1);
  EXPECT_EQ(policy.next(1), std::nullopt);  // unit 1 is not yet journalled
  EXPECT_TRUE(policy.waiting());
  int64_t changes = policy.changes();
  policy.finished(0, 1, true, 3);
  EXPECT_GT(policy.changes(), changes);
  EXPECT_EQ(policy.next(1), 2);
  EXPECT_EQ(policy.next(0), std::nullopt);  // crashed more often than unit 2
  changes = policy.changes();
  policy.finished(1, 2, false, 1);
  EXPECT_GT(policy.changes(), changes);
  EXPECT_EQ(policy.next(0), 0);
  EXPECT_EQ(policy.next(1), 4);
  policy.finished(0, 0, true, 1);
  policy.finished(1, 4, true, 1);
  EXPECT_EQ(policy.next(0), 5);
}

TEST(DispatchPolicy, UnitsThatCrashedWaitForThoseThatOthersTake) {
  // Units 0, 1 and 2 open unit 3; all of them are of model 1, which group 1 has and which takes
  // 50 s to load. Units 4 and 5 are of model 0.
  const std::vector<UnitCost> units{{1, 0, 12}, {1, 0, 10},   {1, 0, 9, 1},
                                    {1, 1, 10}, {0, 2, 9, 1}, {0, 2, 8, 1}};
  DispatchPolicy policy(units, {{}, {0}, {}}, 3);
  for (const int unit : {0, 1}) {
    EXPECT_EQ(policy.next(1), unit);
    policy.finished(1, unit, true, unit == 0 ? 62 : 10);
  }
  EXPECT_EQ(policy.next(1), 2);
  EXPECT_EQ(policy.next(0), 4);
  policy.finished(1, 2, true, 9);
  EXPECT_EQ(policy.next(2), std::nullopt);
  EXPECT_EQ(policy.next(1), 3);
}

TEST(DispatchPolicy, UnitsThatCrashedNeedNotWaitForThoseThatCannotEnd) {
  DispatchPolicy policy({{0, 0, 100, 0}, {0, 0, 5, 1}, {0, 0, 7, 0}}, {{}}, 1);
  EXPECT_EQ(policy.next(0, 50.0), 2);
  policy.finished(0, 2, true, 7);
  EXPECT_EQ(policy.next(0, 4.0), std::nullopt);
  EXPECT_FALSE(policy.waiting());
  EXPECT_EQ(policy.next(0, 43.0), 1);
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
  EXPECT_EQ(policy.next(0), std::nullopt);
  const int64_t changes = policy.changes();
  policy.drop(0);
  EXPECT_GT(policy.changes(), changes);
  policy.finished(1, 1, true, 2.0);
  EXPECT_FALSE(policy.waiting());
  EXPECT_EQ(policy.next(1), 0);
  policy.finished(1, 0, true, 3.0);
  EXPECT_TRUE(policy.all_done());
}

TEST(DispatchPolicy, StartsNothingThatCannotEndInTime) {
  DispatchPolicy policy({{0, 0, 10}, {0, 0, 4}, {1, 0, 3}, {0, 0, 20}}, {{}}, 1);
  EXPECT_EQ(policy.next(0, 2.9), std::nullopt);
  EXPECT_FALSE(policy.waiting());
  EXPECT_FALSE(policy.all_done());
  EXPECT_EQ(policy.next(0, 9.9), 1);  // the largest that fits
  policy.finished(0, 1, true, 4.0);
  EXPECT_EQ(policy.next(0, 9.9), 2);  // the own model's units are too long
  policy.finished(0, 2, true, 3.0);
  EXPECT_EQ(policy.next(0, 9.9), std::nullopt);
  EXPECT_FALSE(policy.waiting());
  EXPECT_EQ(policy.next(0, 20.0), 3);
  policy.finished(0, 3, true, 20.0);
  EXPECT_EQ(policy.next(0, -1.0), std::nullopt);
  EXPECT_EQ(policy.next(0, 10.0), 0);
}

TEST(DispatchPolicy, MeasuredSecondsCorrectTheModelsPredictions) {
  DispatchPolicy policy({{0, 0, 10}, {0, 0, 8}, {1, 0, 9}, {0, 0, 4}}, {{}}, 2);
  EXPECT_EQ(policy.next(0), 0);
  policy.finished(0, 0, true, 30.0);  // three times the prediction
  EXPECT_DOUBLE_EQ(policy.predicted_s(1), 24.0);
  EXPECT_DOUBLE_EQ(policy.predicted_s(2), 27.0);  // not measured yet: as the others
  EXPECT_DOUBLE_EQ(policy.work_left_s(), 24.0 + 27.0 + 12.0);
  EXPECT_EQ(policy.next(0, 23.0), 3);
  policy.finished(0, 3, false, 1000.0);  // failures teach nothing
  EXPECT_DOUBLE_EQ(policy.predicted_s(1), 24.0);
  EXPECT_EQ(policy.next(0, 27.5), 1);
  EXPECT_EQ(policy.next(1, 27.5), 2);
  policy.finished(1, 2, true, 4.5);
  EXPECT_DOUBLE_EQ(policy.predicted_s(2), 4.5);
  EXPECT_DOUBLE_EQ(policy.predicted_s(1), 24.0);
}

TEST(DispatchPolicy, ACorrectionLetsARefusedGroupAskAgain) {
  // A group's first unit of a model has loading in it: 60 s for what was predicted as 5 s.
  DispatchPolicy policy({{0, 0, 5}, {0, 0, 5}, {0, 0, 4}, {0, 0, 5}, {0, 0, 100}}, {{}}, 3);
  EXPECT_EQ(policy.next(2), 4);  // stays in flight
  for (const int group : {0, 1}) {
    EXPECT_EQ(policy.next(group), group);
    policy.finished(group, group, true, 60.0);
  }
  EXPECT_DOUBLE_EQ(policy.predicted_s(2), 48.0);
  EXPECT_EQ(policy.next(0, 60.0), 3);
  EXPECT_EQ(policy.next(1, 40.0), std::nullopt);
  const int64_t changes = policy.changes();
  policy.finished(0, 3, true, 5.0);
  EXPECT_DOUBLE_EQ(policy.predicted_s(2), 4.0);
  EXPECT_GT(policy.changes(), changes);
  EXPECT_EQ(policy.next(1, 40.0), 2);
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
