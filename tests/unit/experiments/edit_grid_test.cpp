#include "experiments/edit_grid.h"

#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::failure;
using test_experiments::ragged_prompts;
using test_experiments::small_model;
using Numbers = std::vector<int32_t>;
using Place = std::vector<int64_t>;

/// "L1 H0,2; L2 H1" of a place.
std::string at(const HeadGrid& grid, const Place& place) {
  std::string text;
  for (const auto& [layer, heads] : grid.at(place))
    text += fmt::format("{}L{} H{}", text.empty() ? "" : "; ", layer, fmt::join(heads, ","));
  return text;
}

TEST(HeadGrid, AllHeadsOfChosenLayersMakeTwoAxes) {
  const HeadGrid grid({}, {.all = false, .list = {1, 3}}, Site::z, small_model(4, 2));
  ASSERT_EQ(grid.axes().size(), 2U);
  EXPECT_EQ(grid.axes()[0], (Axis{.name = "layer", .size = 2, .coordinates = {1, 3}}));
  EXPECT_EQ(grid.axes()[1], (Axis{.name = "head", .size = 2}));
  EXPECT_EQ(at(grid, {0, 0}), "L1 H0");
  EXPECT_EQ(at(grid, {1, 1}), "L3 H1");
}

TEST(HeadGrid, SitesWithoutHeadsHaveLayersOnly) {
  const HeadGrid grid({}, {}, Site::resid_pre, small_model(3, 2));
  ASSERT_EQ(grid.axes().size(), 1U);
  EXPECT_EQ(grid.axes()[0], (Axis{.name = "layer", .size = 3, .coordinates = {0, 1, 2}}));
  EXPECT_EQ(at(grid, {2}), "L2 H");
}

TEST(HeadGrid, NamedHeadsKeepTheirOrder) {
  const HeadSelection heads{.kind = HeadSelection::Kind::list, .list = {{2, 1}, {0, 0}}};
  const HeadGrid grid(heads, {}, Site::z, small_model(3, 2));
  ASSERT_EQ(grid.axes().size(), 1U);
  EXPECT_EQ(grid.axes()[0], (Axis{.name = "named_head", .size = 2, .labels = {"L2H1", "L0H0"}}));
  EXPECT_EQ(at(grid, {0}), "L2 H1");
  EXPECT_EQ(at(grid, {1}), "L0 H0");
}

TEST(HeadGrid, SetsAreJointWithAscendingLayersAndHeads) {
  const HeadSelection heads{.kind = HeadSelection::Kind::sets,
                            .sets = {{"movers", {{2, 1}, {0, 1}, {2, 0}}}, {"one", {{1, 0}}}}};
  const HeadGrid grid(heads, {}, Site::z, small_model(3, 2));
  ASSERT_EQ(grid.axes().size(), 1U);
  EXPECT_EQ(grid.axes()[0], (Axis{.name = "set", .size = 2, .labels = {"movers", "one"}}));
  EXPECT_EQ(at(grid, {0}), "L0 H1; L2 H0,1");
  EXPECT_EQ(at(grid, {1}), "L1 H0");
}

TEST(HeadGrid, WhatTheModelLacksIsNamed) {
  EXPECT_EQ(failure([] { HeadGrid({}, {.all = false, .list = {3}}, Site::z, small_model(3, 2)); }),
            "usage: `layers` names layer 3, but the model has layers 0..2");
  const HeadSelection heads{.kind = HeadSelection::Kind::list, .list = {{0, 2}}};
  EXPECT_EQ(failure([&] { HeadGrid(heads, {}, Site::z, small_model(3, 2)); }),
            "usage: `heads` names L0H2, but the model has layers 0..2 with heads 0..1");
}

TEST(EditGrid, JointPositionsAreResolvedForEachPrompt) {
  const PromptSet prompts = ragged_prompts();
  const EditGrid grid(HeadGrid({}, {}, Site::z, small_model(2, 2)),
                      {.kind = PositionSelection::Kind::targets}, prompts);
  EXPECT_EQ(grid.axes().size(), 2U);
  const auto edits = grid.edits(prompts.prompts[1], Place{1, 0}, {.operation = Operation::zero});
  ASSERT_TRUE(edits.has_value());
  ASSERT_EQ(edits->size(), 1U);
  EXPECT_EQ(edits->front().layer, 1);
  EXPECT_EQ(edits->front().heads, Numbers{0});
  EXPECT_EQ(edits->front().positions, (Numbers{0, 2}));
}

TEST(EditGrid, EachIsTheLastAxisAndStopsAtThePromptsEnd) {
  const PromptSet prompts = ragged_prompts();
  const EditGrid grid(HeadGrid({}, {}, Site::resid_pre, small_model(2, 2)),
                      {.kind = PositionSelection::Kind::each}, prompts);
  ASSERT_EQ(grid.axes().size(), 2U);
  EXPECT_EQ(grid.axes()[1].name, "position");
  EXPECT_EQ(grid.axes()[1].size, 3);
  EXPECT_FALSE(grid.edits(prompts.prompts[0], Place{0, 2}, {}).has_value());
  const auto edits =
      grid.edits(prompts.prompts[1], Place{0, 2}, {.donor = {.side = Side::corrupt}});
  ASSERT_TRUE(edits.has_value());
  EXPECT_EQ(edits->front().positions, Numbers{2});
  EXPECT_EQ(edits->front().donor.side, Side::corrupt);
  EXPECT_TRUE(edits->front().heads.empty());
}

TEST(EditGrid, SetsGiveOneEditForEachOfTheirLayers) {
  const PromptSet prompts = ragged_prompts();
  const HeadSelection heads{.kind = HeadSelection::Kind::sets, .sets = {{"a", {{1, 0}, {0, 1}}}}};
  const EditGrid grid(HeadGrid(heads, {}, Site::z, small_model(2, 2)), {}, prompts);
  const auto edits = grid.edits(prompts.prompts[0], Place{0}, {});
  ASSERT_TRUE(edits.has_value());
  ASSERT_EQ(edits->size(), 2U);
  EXPECT_EQ(edits->at(0).layer, 0);
  EXPECT_EQ(edits->at(0).heads, Numbers{1});
  EXPECT_EQ(edits->at(1).layer, 1);
  EXPECT_EQ(edits->at(1).positions, (Numbers{0, 1}));
}

TEST(EditGrid, PromptsWithoutThePositionAreFoundWhenItIsMade) {
  const PromptSet prompts = ragged_prompts();
  EXPECT_EQ(failure([&] {
              EditGrid(HeadGrid({}, {}, Site::z, small_model(2, 2)),
                       {.kind = PositionSelection::Kind::list, .list = {2}}, prompts);
            }),
            "input: prompt 'a' has 2 tokens and no position 2");
}

}  // namespace
}  // namespace mechsweep
