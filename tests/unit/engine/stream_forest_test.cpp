// Which rows streams own, counted by hand; numbers are left to the tests that compute.

#include "engine/stream_forest.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "core/random.h"
#include "engine/random_tasks.h"
#include "forest_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

const DonorRun kCorrupt = {.prompt = -1, .side = Side::corrupt};

TEST(StreamForest, CleanAndCorruptShareTheirFirstTokens) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5}, {1, 2, 9, 4, 5});
  const size_t task = work.task(prompt, {patch(Site::z, 0, {4}, kCorrupt)});
  const StreamForest forest = work.forest(four_layers());
  // 5 clean rows, 3 corrupt ones, and the one that is edited.
  EXPECT_EQ(forest.rows(), 9);
  EXPECT_EQ(forest.roots(), 2);
  const int clean = forest.root_of(prompt, Side::clean);
  const int corrupt = forest.root_of(prompt, Side::corrupt);
  EXPECT_EQ(forest[clean].own_positions() + forest[corrupt].own_positions(), 8);
  const Stream& edited = forest[forest.stream_of(task)];
  EXPECT_EQ(edited.parent, clean);
  EXPECT_EQ(edited.first, 4);
  EXPECT_EQ(edited.own_positions(), 1);
  ASSERT_EQ(edited.edits.size(), 1U);
  EXPECT_EQ(edited.edits[0].donor, corrupt);
}

TEST(StreamForest, PromptsFormATrie) {
  const std::vector<std::vector<int32_t>> sequences = {{1, 7}, {1, 2, 3, 5, 6}, {1, 2, 3, 4},
                                                       {8},    {1, 2},          {1, 2, 3, 4}};
  Work work;
  for (const auto& tokens : sequences) work.task(work.prompt(tokens), {});
  const StreamForest forest = work.forest(four_layers());
  // 1, 12, 123, 1234, 1235, 12356, 17 and 8.
  EXPECT_EQ(forest.rows(), 8);
  EXPECT_EQ(forest.roots(), 5);
  EXPECT_EQ(forest.root_of(2, Side::clean), forest.root_of(5, Side::clean));
}

TEST(StreamForest, AnyPromptsOwnEachBeginningOnce) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomStream random(seed, "tests/forest");
    Work work;
    std::vector<std::vector<int32_t>> needed;
    for (uint32_t count = 1 + random.below(8); count > 0; --count) {
      std::vector<int32_t> tokens(1 + random.below(6));
      for (int32_t& token : tokens) token = static_cast<int32_t>(random.below(3));
      const auto read = static_cast<int32_t>(random.below(static_cast<uint32_t>(tokens.size())));
      work.task(work.prompt(tokens), Intervention{}, {read});
      tokens.resize(read + 1);  // what comes later is not needed
      needed.push_back(tokens);
    }
    EXPECT_EQ(work.forest(four_layers()).rows(), count_beginnings(needed)) << seed;
  }
}

TEST(StreamForest, EmptyInterventionsAreTheRunItself) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3}, {4, 2, 3});
  work.task(prompt, {});
  work.task(prompt, {}, Downstream::freeze);
  work.task(prompt, {Side::corrupt, {}, Downstream::recompute}, {2});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest.streams().size(), 2U);
  EXPECT_EQ(forest.stream_of(0), forest.root_of(prompt, Side::clean));
  EXPECT_EQ(forest.stream_of(1), forest.root_of(prompt, Side::clean));
  EXPECT_EQ(forest.stream_of(2), forest.root_of(prompt, Side::corrupt));
}

TEST(StreamForest, EqualInterventionsShareAStream) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4}, {5, 2, 3, 4});
  const int32_t twin = work.prompt({1, 2, 3, 4}, {5, 2, 3, 4});
  const Edit early = zero_head(0, 1, {3});
  const Edit late = zero_head(2, 0, {1, 3});
  const size_t first = work.task(prompt, {early, late});
  const size_t other_order = work.task(prompt, {late, early});
  const size_t other_read = work.task(prompt, {Side::clean, {early, late}, {}}, {1});
  const size_t of_twin = work.task(twin, {early, late});
  const size_t own = work.task(prompt, {patch(Site::mlp_out, 1, {2}, {prompt, Side::corrupt})});
  const size_t by_default = work.task(prompt, {patch(Site::mlp_out, 1, {2}, kCorrupt)});
  const size_t from_twin = work.task(prompt, {patch(Site::mlp_out, 1, {2}, {twin, Side::corrupt})});
  const StreamForest forest = work.forest(four_layers());
  for (const size_t task : {other_order, other_read, of_twin})
    EXPECT_EQ(forest.stream_of(task), forest.stream_of(first)) << task;
  for (const size_t task : {by_default, from_twin})
    EXPECT_EQ(forest.stream_of(task), forest.stream_of(own)) << task;
  EXPECT_EQ(forest.streams().size(), 4U);  // clean, corrupt and two interventions
  EXPECT_EQ(forest[forest.stream_of(first)].queried, (std::vector<uint8_t>{0, 1, 0, 1}));
}

TEST(StreamForest, DifferentInterventionsDoNot) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4}, {5, 2, 3, 4});
  const auto direction = std::make_shared<const std::vector<float>>(8, 0.5F);
  const auto equal_values = std::make_shared<const std::vector<float>>(8, 0.5F);
  const auto added = [](auto vector, float scale) {
    return Edit{.site = Site::mlp_out,
                .layer = 1,
                .positions = {3},
                .operation = Operation::add,
                .vector = vector,
                .scale = scale};
  };
  work.task(prompt, {zero_head(1, 0, {3})});
  work.task(prompt, {zero_head(1, 1, {3})});
  work.task(prompt, {zero_head(1, 0, {2})});
  work.task(prompt, {zero_head(2, 0, {3})});
  work.task(prompt, {zero_head(1, 0, {3})}, Downstream::freeze);
  work.task(prompt, {patch(Site::z, 1, {3}, kCorrupt)});
  work.task(prompt, {added(direction, 1.0F)});
  work.task(prompt, {added(direction, 2.0F)});
  work.task(prompt, {added(equal_values, 1.0F)});  // vectors count by object
  work.task(prompt, {added(direction, 1.0F), zero_head(1, 0, {3})});
  work.task(prompt, {added(direction, 1.0F), added(direction, 2.0F)});
  work.task(prompt, {added(direction, 2.0F), added(direction, 1.0F)});
  work.task(prompt, {cut_edge(1, 3, 0)});
  work.task(prompt, {cut_edge(1, 3, 1)});
  work.task(prompt, {Side::corrupt, {zero_head(1, 0, {3})}, {}}, {3});
  const StreamForest forest = work.forest(four_layers());
  std::set<int> streams;
  for (size_t task = 0; task < work.tasks().size(); ++task) streams.insert(forest.stream_of(task));
  EXPECT_EQ(streams.size(), work.tasks().size());
}

TEST(StreamForest, TheResidualStreamBetweenTwoLayersIsOnePlace) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4});
  const size_t after =
      work.task(prompt, {{.site = Site::resid_post, .layer = 1, .positions = {2}}});
  const size_t before =
      work.task(prompt, {{.site = Site::resid_pre, .layer = 2, .positions = {2}}});
  const size_t end = work.task(prompt, {{.site = Site::resid_post, .layer = 3, .positions = {2}}});
  const StreamForest forest = work.forest(four_layers());
  for (const size_t task : {after, before}) {
    const StreamEdit& between = forest[forest.stream_of(task)].edits.at(0);
    EXPECT_EQ(between.layer, 2);
    EXPECT_EQ(between.site, Site::resid_pre);
  }
  const StreamEdit& last = forest[forest.stream_of(end)].edits.at(0);
  EXPECT_EQ(last.layer, 3);
  EXPECT_EQ(last.site, Site::resid_post);
}

// --- joint edits -------------------------------------------------------------------------------

TEST(StreamForest, APairGoesOnFromTheSingleOne) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5});
  const Edit a = zero_head(0, 0, {1, 4});
  const Edit b = zero_head(2, 1, {3});
  const size_t pair = work.task(prompt, {a, b});
  const size_t single = work.task(prompt, {a});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest[forest.stream_of(pair)].parent, forest.stream_of(single));
  EXPECT_EQ(forest[forest.stream_of(pair)].edits.size(), 1U);
  EXPECT_EQ(forest[forest.stream_of(single)].parent, forest.root_of(prompt, Side::clean));
  // 5 of the run, 4 from position 1 on, 2 from position 3 on.
  EXPECT_EQ(forest.rows(), 5 + 4 + 2);
}

TEST(StreamForest, PairsWithoutTheSingleOneShareIt) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5});
  const Edit a = zero_head(0, 0, {2});
  const size_t ab = work.task(prompt, {a, zero_head(1, 0, {4})});
  const size_t ac = work.task(prompt, {zero_head(2, 0, {4}), a});
  const size_t ad = work.task(prompt, {a, zero_head(3, 1, {4})});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest.streams().size(), 5U);
  const int shared = forest[forest.stream_of(ab)].parent;
  for (const size_t task : {ab, ac, ad}) {
    EXPECT_EQ(forest[forest.stream_of(task)].parent, shared);
    EXPECT_NE(forest.stream_of(task), shared);
  }
  EXPECT_EQ(forest[shared].parent, forest.root_of(prompt, Side::clean));
  EXPECT_EQ(forest.rows(), 5 + 3 + 1 + 1 + 1);
}

TEST(StreamForest, APairAloneIsOneStream) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5});
  const size_t pair = work.task(prompt, {zero_head(2, 0, {4}), zero_head(0, 0, {3})});
  const StreamForest forest = work.forest(four_layers());
  ASSERT_EQ(forest.streams().size(), 2U);
  const Stream& stream = forest[forest.stream_of(pair)];
  ASSERT_EQ(stream.edits.size(), 2U);
  EXPECT_EQ(stream.edits[0].layer, 0);
  EXPECT_EQ(stream.edits[1].layer, 2);
  EXPECT_EQ(forest.rows(), 5 + 2);
}

TEST(StreamForest, EditsOfOneLayerStayTogether) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3});
  const Edit one = zero_head(1, 0, {2});
  const Edit other = {.site = Site::mlp_out, .layer = 1, .positions = {2}};
  const size_t both = work.task(prompt, {one, other});
  const size_t single = work.task(prompt, {one});
  const StreamForest forest = work.forest(four_layers());
  const int root = forest.root_of(prompt, Side::clean);
  EXPECT_EQ(forest[forest.stream_of(both)].parent, root);
  EXPECT_EQ(forest[forest.stream_of(single)].parent, root);
  EXPECT_EQ(forest[forest.stream_of(both)].edits.size(), 2U);
  EXPECT_EQ(forest.streams().size(), 3U);
}

TEST(StreamForest, FrozenOnesComputeTheirEditsBesideTheirStream) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5});
  const Edit head = zero_head(1, 0, {3});
  const Edit middle = {.site = Site::resid_mid, .layer = 0, .positions = {4}};
  const size_t frozen = work.task(prompt, {head, middle}, Downstream::freeze);
  const size_t live = work.task(prompt, {head});
  const StreamForest forest = work.forest(four_layers());
  const Stream& stream = forest[forest.stream_of(frozen)];
  ASSERT_TRUE(stream.is_frozen());
  EXPECT_NE(forest.stream_of(frozen), forest.stream_of(live));
  const Stream& component = forest[stream.component];
  EXPECT_TRUE(component.is_component);
  ASSERT_EQ(component.edits.size(), 1U);
  EXPECT_EQ(component.edits[0].site, Site::z);
  ASSERT_EQ(stream.edits.size(), 1U);
  EXPECT_EQ(stream.edits[0].site, Site::resid_mid);
  const int root = forest.root_of(prompt, Side::clean);
  EXPECT_EQ(stream.parent, root);
  EXPECT_EQ(component.parent, root);
  // Positions 3 and 4 of the live stream, the frozen one and its component.
  EXPECT_EQ(forest.rows(), 5 + 2 + 2 + 2);
}

}  // namespace
}  // namespace mechsweep
