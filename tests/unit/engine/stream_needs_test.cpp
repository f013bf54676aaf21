// How far streams are computed, and which first positions they share across prompts.

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "engine/random_tasks.h"
#include "forest_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

const DonorRun kCorrupt = {.prompt = -1, .side = Side::corrupt};
constexpr int kLast = 3;  ///< the last layer of four

// --- what is needed ----------------------------------------------------------------------------

TEST(StreamNeeds, NothingAfterTheLastPositionThatIsRead) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5, 6});
  const size_t task = work.task(prompt, {Side::clean, {zero_head(1, 0, up_to(6))}, {}}, {1, 2});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest.rows(), 3 + 3);
  EXPECT_EQ(forest[forest.stream_of(task)].length, 3);
  EXPECT_EQ(forest[forest.stream_of(task)].queried, (std::vector<uint8_t>{0, 1, 1}));
  EXPECT_EQ(forest[forest.stream_of(task)].last_layer, kLast);
}

TEST(StreamNeeds, WhatNobodyReadsIsNotComputed) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5}, {9, 8, 7, 6, 5});
  const size_t unread = work.task_with(prompt, {Side::clean, {zero_head(1, 0, {2})}, {}}, {});
  // Edited only after what is read: its donor is not needed either.
  const size_t later =
      work.task(prompt, {Side::clean, {patch(Site::z, 0, {3, 4}, kCorrupt)}, {}}, {1});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest[forest.stream_of(unread)].length, 0);
  EXPECT_EQ(forest[forest.stream_of(unread)].own_positions(), 0);
  EXPECT_EQ(forest[forest.stream_of(later)].own_positions(), 0);
  EXPECT_EQ(forest[forest.root_of(prompt, Side::corrupt)].length, 0);
  EXPECT_EQ(forest.rows(), 2);
}

TEST(StreamNeeds, DonorsGoNoFartherThanWhatIsTaken) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5}, {9, 8, 7, 6, 5});
  work.task(prompt, {patch(Site::z, 1, {0, 2}, kCorrupt)});
  {
    const StreamForest forest = work.forest(four_layers());
    const Stream& donor = forest[forest.root_of(prompt, Side::corrupt)];
    EXPECT_EQ(donor.length, 3);
    EXPECT_EQ(donor.last_layer, 1);
    EXPECT_EQ(forest.rows(), 5 + 3 + 5);
  }
  // A divergence from the same run needs it to the end, at what is read.
  work.task_with(prompt, {}, {{.position = 3, .tracked = {1}, .kl = {Side::corrupt}}});
  const StreamForest forest = work.forest(four_layers());
  const Stream& donor = forest[forest.root_of(prompt, Side::corrupt)];
  EXPECT_EQ(donor.length, 4);
  EXPECT_EQ(donor.last_layer, kLast);
  EXPECT_EQ(donor.queried, (std::vector<uint8_t>{0, 0, 0, 1}));
}

TEST(StreamNeeds, ResidualsAfterALayerAreTakenBeforeTheNext) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3}, {9, 8, 7});
  work.task(prompt, {patch(Site::resid_post, 1, {1}, kCorrupt)});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest[forest.root_of(prompt, Side::corrupt)].last_layer, 2);
}

TEST(StreamNeeds, DonorsOfTheLastLayerAreQueriedThere) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3}, {9, 8, 7});
  work.task(prompt, {patch(Site::mlp_out, kLast, {0, 2}, kCorrupt)});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest[forest.root_of(prompt, Side::corrupt)].queried, (std::vector<uint8_t>{1, 0, 1}));
}

TEST(StreamNeeds, ParentsGoAsFarAsTheirChildren) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5});
  const Edit a = zero_head(0, 0, {1});
  const size_t single = work.task(prompt, {Side::clean, {a}, {}}, {1});
  work.task(prompt, {Side::clean, {a, zero_head(1, 0, {3})}, {}}, {4});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest[forest.stream_of(single)].length, 5);
  EXPECT_EQ(forest[forest.stream_of(single)].queried, (std::vector<uint8_t>{0, 1, 0, 0, 1}));
  EXPECT_EQ(forest[forest.root_of(prompt, Side::clean)].length, 5);
}

TEST(StreamNeeds, KeptActivationsReachAsFarAsTheirLayer) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5});
  work.task_with(prompt, {}, {}, {{Site::z, 1, 2}, {Site::resid_post, 1, 0}});
  const ModelConfig config = four_layers();
  const StreamForest forest = work.forest(config);
  const Stream& root = forest[forest.root_of(prompt, Side::clean)];
  EXPECT_EQ(root.length, 3);
  EXPECT_EQ(root.last_layer, 2);  // where what leaves layer 1 enters
  ASSERT_EQ(forest.captures().size(), 2U);
  EXPECT_EQ(forest.captures()[1].layer, 2);
  ASSERT_EQ(work.results()[0].activations.size(), 2U);
  EXPECT_EQ(std::ssize(work.results()[0].activations[0]), site_width(Site::z, config));
  EXPECT_EQ(forest.captures()[0].destination, work.results()[0].activations[0].data());
}

TEST(StreamNeeds, ObserversSeeEverything) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3, 4, 5});
  work.task(prompt, {Side::clean, {zero_head(1, 0, {2})}, {}}, {3});
  EXPECT_EQ(work.forest(four_layers(), false).rows(), 4 + 2);
  const StreamForest forest = work.forest(four_layers(), true);
  EXPECT_EQ(forest.rows(), 5 + 3);
  EXPECT_EQ(forest[forest.stream_of(0)].queried, (std::vector<uint8_t>(5, 1)));
}

// --- the same intervention on prompts that begin alike -----------------------------------------

/// Two prompts whose first three tokens are the same, with an intervention each; rows of edited
/// streams.
class TwoPrompts {
 public:
  explicit TwoPrompts(std::vector<int32_t> corrupt_one = {9, 9, 9, 9},
                      std::vector<int32_t> corrupt_other = {9, 9, 9, 9, 9}) {
    one_ = work_.prompt({1, 2, 3, 4}, std::move(corrupt_one));
    other_ = work_.prompt({1, 2, 3, 6, 7}, std::move(corrupt_other));
  }
  /// Rows that the streams of interventions own, the prompts' own 4 + 2 and donors' aside.
  int64_t edited_rows(std::vector<Edit> on_one, std::vector<Edit> on_other) {
    work_.task(one_, std::move(on_one));
    work_.task(other_, std::move(on_other));
    const StreamForest forest = work_.forest(four_layers());
    int64_t rows = 0;
    for (const Stream& stream : forest.streams())
      if (!stream.is_root()) rows += stream.own_positions();
    return rows;
  }

 private:
  Work work_;
  int32_t one_ = 0;
  int32_t other_ = 0;
};

TEST(SharedBeginnings, TheSameEditEverywhereIsComputedOnce) {
  EXPECT_EQ(TwoPrompts().edited_rows({zero_head(0, 0, up_to(4))}, {zero_head(0, 0, up_to(5))}),
            4 + 2);
  EXPECT_EQ(TwoPrompts().edited_rows({zero_head(0, 0, {1})}, {zero_head(0, 0, {1})}), 3 + 2);
}

TEST(SharedBeginnings, OnlyWhatIsBelowTheBranchingCounts) {
  EXPECT_EQ(TwoPrompts().edited_rows({zero_head(0, 0, {0, 3})}, {zero_head(0, 0, {0, 4})}), 4 + 2);
  // A second edit above it, of one prompt only.
  EXPECT_EQ(TwoPrompts().edited_rows({zero_head(0, 0, {0})},
                                     {zero_head(0, 0, {0}), zero_head(2, 1, {4})}),
            4 + 2);
  // Edits that begin above it share nothing that would have to be computed.
  EXPECT_EQ(TwoPrompts().edited_rows({zero_head(0, 0, {3})}, {zero_head(0, 0, {3, 4})}), 1 + 2);
}

TEST(SharedBeginnings, OtherEditsDoNotMatch) {
  const Edit edit = zero_head(0, 0, up_to(4));
  EXPECT_EQ(TwoPrompts().edited_rows({edit}, {zero_head(0, 1, up_to(5))}), 4 + 5);
  EXPECT_EQ(TwoPrompts().edited_rows({edit}, {zero_head(1, 0, up_to(5))}), 4 + 5);
  EXPECT_EQ(TwoPrompts().edited_rows({edit}, {zero_head(0, 0, {1, 2, 3, 4})}), 4 + 4);
  Edit bias = zero_head(0, 0, up_to(5));
  bias.operation = Operation::value_bias;
  EXPECT_EQ(TwoPrompts().edited_rows({edit}, {bias}), 4 + 5);
  EXPECT_EQ(TwoPrompts().edited_rows({edit}, {zero_head(0, 0, up_to(5)), zero_head(1, 1, {2})}),
            4 + 5);
  EXPECT_EQ(TwoPrompts().edited_rows({cut_edge(1, 2, 0)}, {cut_edge(1, 2, 0)}), 2 + 2);
  EXPECT_EQ(TwoPrompts().edited_rows({cut_edge(1, 2, 0)}, {cut_edge(1, 2, 1)}), 2 + 3);
}

TEST(SharedBeginnings, DonorsMustShareTheirRowsToo) {
  const Edit on_one = patch(Site::z, 0, {1, 2}, kCorrupt);
  EXPECT_EQ(TwoPrompts({8, 2, 3, 4}, {8, 2, 3, 9, 9}).edited_rows({on_one}, {on_one}), 3 + 2);
  EXPECT_EQ(TwoPrompts({8, 2, 3, 4}, {7, 2, 3, 9, 9}).edited_rows({on_one}, {on_one}), 3 + 4);
  // They part at position 2, and only position 1 is taken.
  const Edit first_only = patch(Site::z, 0, {1}, kCorrupt);
  EXPECT_EQ(TwoPrompts({8, 2, 3, 4}, {8, 2, 5, 9, 9}).edited_rows({first_only}, {first_only}),
            3 + 2);
  EXPECT_EQ(TwoPrompts({8, 2, 3, 4}, {8, 2, 5, 9, 9}).edited_rows({on_one}, {on_one}), 3 + 4);
}

/// Means are aligned from the end: at the same place they differ when the lengths do.
TEST(SharedBeginnings, MeansMustBeAsFarFromTheEnd) {
  const auto sums = std::make_shared<const ActivationSums>();
  const auto rows = [&](std::vector<int32_t> other, bool leave_out) {
    Work work;
    const Edit mean = {.site = Site::mlp_out,
                       .layer = 0,
                       .positions = {1},
                       .operation = Operation::mean,
                       .leave_out = leave_out,
                       .sums = sums};
    work.task(work.prompt({1, 2, 3, 4}), {mean});
    work.task(work.prompt(std::move(other)), {mean});
    return work.forest(four_layers()).rows();
  };
  EXPECT_EQ(rows({1, 2, 3, 6}, false), 4 + 1 + 3 + 1);
  EXPECT_EQ(rows({1, 2, 3, 6, 7}, false), 4 + 2 + 3 + 4);
  EXPECT_EQ(rows({1, 2, 3, 6}, true), 4 + 1 + 3 + 1);
  EXPECT_EQ(rows({1, 2, 3, 6, 7}, true), 4 + 2 + 3 + 4);
}

TEST(SharedBeginnings, JointEditsMatchWhateverTheirParents) {
  Work work;
  const int32_t one = work.prompt({1, 2, 3, 4});
  const int32_t other = work.prompt({1, 2, 3, 6, 7});
  const Edit a = zero_head(0, 0, {0});
  const Edit b = zero_head(2, 1, {2});
  work.task(one, {a});
  const size_t child = work.task(one, {a, b});
  const size_t alone = work.task(other, {a, b});
  const StreamForest forest = work.forest(four_layers());
  EXPECT_EQ(forest[forest.stream_of(alone)].prefix, forest.stream_of(child));
  EXPECT_EQ(forest[forest.stream_of(alone)].prefix_length, 3);
  EXPECT_EQ(forest.rows(), 4 + 2 + 4 + 2 + 2);
}

// --- whatever the tasks ------------------------------------------------------------------------

/// What the pass over the layers relies on.
void expect_sound(const StreamForest& forest, int index) {
  const Stream& stream = forest[index];
  const std::map<int, int32_t> needed = {{stream.parent, stream.length},
                                         {stream.prefix, stream.prefix_length},
                                         {stream.component, stream.length}};
  for (const auto& [other, length] : needed) {
    EXPECT_LT(other, index);
    if (other < 0 || stream.length == 0) continue;
    const int32_t shared = std::min(length, stream.length);
    EXPECT_GE(forest[other].length, shared);
    EXPECT_GE(forest[other].last_layer, stream.last_layer);
    EXPECT_TRUE(std::equal(stream.tokens.begin(), stream.tokens.begin() + shared,
                           forest[other].tokens.begin()));
    for (int32_t t = 0; t < shared; ++t) EXPECT_LE(stream.queried[t], forest[other].queried[t]);
  }
  EXPECT_EQ(std::ssize(stream.queried), stream.length);
  EXPECT_LE(stream.length, std::ssize(stream.tokens));
  EXPECT_EQ(stream.is_root(), index < forest.roots());
  for (const StreamEdit& edit : stream.edits) EXPECT_LT(edit.donor, forest.roots());
}

TEST(StreamForestProperties, StreamsComeAfterWhatTheyNeed) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const ModelConfig config = four_layers();
    const RandomTasks work(config, seed, {.prompts = 6, .longest = 12, .tasks = 40});
    std::vector<TaskResult> results(work.tasks().size());
    const StreamForest forest(work.prompts(), work.tasks(), config, seed % 4 == 0, results);
    int64_t rows = 0;
    for (int s = 0; s < static_cast<int>(forest.streams().size()); ++s) {
      expect_sound(forest, s);
      rows += forest[s].own_positions();
      if (::testing::Test::HasFailure()) FAIL() << "seed " << seed << ", stream " << s;
    }
    EXPECT_EQ(forest.rows(), rows);
  }
}

}  // namespace
}  // namespace mechsweep
