// The work that the wavefront saves: rows counted while it runs, against counts by hand. The pass
// gets a store with exactly the rows that were counted (one more would abort), and afterwards the
// rows that are taken are counted once more.

#include <algorithm>
#include <cstring>
#include <numeric>

#include <gtest/gtest.h>

#include "core/error.h"
#include "engine/random_tasks.h"
#include "engine/wavefront_memory.h"
#include "engine/wavefront_pass.h"
#include "engine_support.h"
#include "forest_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

const DonorRun kCorrupt = {.prompt = -1, .side = Side::corrupt};

/// Rows that are taken from a store of `capacity`: those that are not are handed out in turn, first
/// the ones that were given back, then new ones with ascending numbers.
int64_t rows_in_use(RowStore& store, int64_t capacity, int64_t spare) {
  std::vector<int32_t> given;
  for (int64_t i = 0; i < spare; ++i) given.push_back(store.allocate({}));
  const int64_t highest = *std::max_element(given.begin(), given.end());
  EXPECT_LT(highest, capacity);
  return highest + 1 - spare;
}

class WavefrontRows : public ::testing::Test {
 protected:
  WavefrontRows()
      : checkpoint_(open_checkpoint(golden_path("checkpoints/llama-random"))),
        pool_(1),
        model_(checkpoint_, group_, {}) {}

  [[nodiscard]] const ModelConfig& config() const { return model_.config(); }
  [[nodiscard]] int last_layer() const { return config().n_layers - 1; }
  /// A prompt of `length` tokens; its corrupt partner has others from `differs_from` on.
  int32_t prompt(int32_t length, int32_t differs_from = 0) {
    std::vector<int32_t> clean = up_to(length);
    std::vector<int32_t> corrupt = clean;
    for (int32_t t = differs_from; t < length; ++t) corrupt[t] += 50;
    return work_.prompt(std::move(clean), std::move(corrupt));
  }
  Edit zero(int layer, int32_t head, std::vector<int32_t> positions) const {
    return zero_head(layer, head, std::move(positions));
  }

  /// Runs all tasks in a store of no more than `most` rows; gives how many of them are owned in the
  /// end, and checks what was computed against whole passes.
  int64_t owned_rows(int64_t most) {
    const StreamForest forest = work_.forest(config());
    EXPECT_LE(most, forest.rows());  // which is a bound
    {
      RowStore exact(config());
      exact.reset(most);
      WavefrontPass(model_, pool_, forest, exact).run({});
    }
    constexpr int64_t kSpare = 500;
    RowStore store(config());
    store.reset(most + kSpare);
    WavefrontPass pass(model_, pool_, forest, store);
    pass.run({});
    compare(forest, pass);
    return rows_in_use(store, most + kSpare, std::max<int64_t>(kSpare, 1));
  }

  Work work_;

 private:
  /// The final residual rows that are read, against those of the naive executor.
  void compare(const StreamForest& forest, const WavefrontPass& pass) {
    std::vector<std::vector<ActivationPoint>> points;
    std::vector<Task> tasks = work_.tasks();
    for (const Task& task : tasks) {
      points.emplace_back();
      for (const ReadPoint& read : task.reads)
        points.back().push_back({Site::resid_post, last_layer(), read.position});
    }
    for (size_t i = 0; i < tasks.size(); ++i) tasks[i].activations = points[i];
    const auto expected =
        make_naive_executor(model_, pool_, kAmpleMemory)->run(work_.prompts(), tasks);
    for (size_t i = 0; i < tasks.size(); ++i)
      for (size_t r = 0; r < points[i].size(); ++r) {
        const float* found = pass.final_row(forest.stream_of(i), points[i][r].position);
        EXPECT_EQ(
            std::memcmp(found, expected[i].activations[r].data(), config().d_model * sizeof(float)),
            0)
            << "task " << i << " position " << points[i][r].position;
      }
  }

  Checkpoint checkpoint_;
  SoloGroup group_;
  ThreadPool pool_;
  Model model_;
};

TEST_F(WavefrontRows, AHeadAtTheLastPositionCostsOneRow) {
  const int32_t tokens = 9;
  const int32_t of = prompt(tokens);
  int64_t heads = 0;
  for (int layer = 0; layer < config().n_layers; ++layer)
    for (int32_t head = 0; head < config().n_heads; ++head, ++heads)
      work_.task(of, {zero(layer, head, {tokens - 1})});
  EXPECT_EQ(heads, 12);
  EXPECT_EQ(owned_rows(tokens + heads), tokens + heads);
}

TEST_F(WavefrontRows, AHeadEverywhereCostsEveryRowButInTheLastLayer) {
  const int32_t tokens = 9;
  const int32_t of = prompt(tokens);
  for (int layer = 0; layer < config().n_layers; ++layer)
    work_.task(of, {zero(layer, 1, up_to(tokens))});
  // Of the last layer only what is read.
  const int64_t rows = tokens + last_layer() * tokens + 1;
  EXPECT_EQ(owned_rows(rows), rows);
}

TEST_F(WavefrontRows, AnEditReachesTheRowsAfterIt) {
  const int32_t tokens = 8;
  const int32_t of = prompt(tokens);
  work_.task(of, {patch(Site::resid_pre, 0, {3}, kCorrupt)});  // 3..7
  work_.task(of, {patch(Site::mlp_out, 0, {5}, kCorrupt)});    // 5..7
  work_.task(of, {cut_edge(0, 6, 2)});                         // 6, 7
  work_.task(of, {cut_edge(1, 4, 2)});  // 4, and by the last layer what is read
  work_.task(of, {patch(Site::v, last_layer(), {2}, kCorrupt)});  // 2 and what is read
  work_.task(of, {patch(Site::z, last_layer(), {2}, kCorrupt)});  // nothing that is read
  const int64_t edited = 5 + 3 + 2 + 2 + 2 + 0;
  // The corrupt run goes up to position 5 and, for the edit of v, through all layers.
  EXPECT_EQ(owned_rows(tokens + 6 + edited), tokens + 6 + edited);
}

TEST_F(WavefrontRows, WritingWhatIsThereCostsNothing) {
  const int32_t tokens = 6;
  const int32_t of = prompt(tokens, 4);
  for (const Site site : {Site::resid_pre, Site::q, Site::k, Site::v, Site::z, Site::attn_out,
                          Site::resid_mid, Site::mlp_in, Site::mlp_hidden, Site::mlp_out})
    work_.task(of, {patch(site, 0, {0, 3}, kCorrupt)});
  // The corrupt run shares positions 0..3, and nothing of it is needed later.
  EXPECT_EQ(owned_rows(tokens), tokens);
}

TEST_F(WavefrontRows, DonorsLeaveWhenTheyHaveGiven) {
  const int32_t tokens = 6;
  const int32_t of = prompt(tokens, 0);
  work_.task(of, {patch(Site::resid_pre, 1, {tokens - 1}, kCorrupt)});
  // At most the two runs and the edited row; in the end the corrupt run is gone.
  EXPECT_EQ(owned_rows(2 * tokens + 1), tokens + 1);
}

TEST_F(WavefrontRows, PairsGoOnFromSingleOnes) {
  const int32_t tokens = 7;
  const int32_t of = prompt(tokens);
  for (int32_t head = 0; head < 4; ++head) {
    work_.task(of, {zero(0, head, {2})});
    for (int32_t other = 0; other < 4; ++other)
      work_.task(of, {zero(0, head, {2}), zero(1, other, {tokens - 1})});
  }
  // A single one owns position 2 in layer 0 and 2..6 in layer 1, of which the last layer, too, has
  // them all; a pair owns its last row.
  const int64_t rows = tokens + 4 * (tokens - 2) + 16;
  EXPECT_EQ(owned_rows(rows), rows);
}

TEST_F(WavefrontRows, PromptsThatBeginAlikeShareEditedRows) {
  const int32_t one = work_.prompt({1, 2, 3, 4, 5, 6});
  const int32_t other = work_.prompt({1, 2, 3, 4, 9, 8, 7});
  work_.task(one, {zero(0, 1, up_to(6))});
  work_.task(other, {zero(0, 1, up_to(7))});
  EXPECT_EQ(owned_rows((6 + 3) + (6 + 3)), (6 + 3) + (6 + 3));
}

TEST_F(WavefrontRows, FrozenStreamsKeepTheirComponentsForALayerOnly) {
  const int32_t tokens = 6;
  const int32_t of = prompt(tokens);
  work_.task(of, {zero(0, 1, {3})}, Downstream::freeze);
  // The run, the edited row and while it is computed its component. Nothing spreads.
  EXPECT_EQ(owned_rows(tokens + 2), tokens + 1);
}

TEST_F(WavefrontRows, TheEndOfAPromptCostsNothingWhenItIsNotRead) {
  const int32_t of = prompt(12);
  work_.task(of, {Side::clean, {zero(0, 0, up_to(12))}, {}}, {3});
  EXPECT_EQ(owned_rows(4 + 4), 4 + 4);
}

TEST_F(WavefrontRows, MemoryFollowsTheRows) {
  const int32_t of = prompt(20);
  for (int32_t head = 0; head < 4; ++head) work_.task(of, {zero(0, head, {19})});
  const StreamForest narrow = work_.forest(config());
  const WavefrontMemory memory = memory_of(narrow, work_.tasks());
  EXPECT_EQ(memory.rows, 20 + 4);
  EXPECT_EQ(memory.shared_rows, 20);
  EXPECT_EQ(memory.streams, 5);
  EXPECT_EQ(memory.reads, 4);
  EXPECT_EQ(memory.held_logits, 0);
  Work wide;
  const int32_t again = wide.prompt(up_to(20));
  for (int32_t head = 0; head < 4; ++head) wide.task(again, {zero(0, head, up_to(20))});
  const StreamForest forest = wide.forest(config());
  const WavefrontMemory more = memory_of(forest, wide.tasks());
  EXPECT_EQ(more.rows, 20 + 4 * 20);
  // A row holds at least its residual stream, queries, keys and values.
  const int64_t row = 4 * (32 + (4 + 2 * 2) * 8);
  EXPECT_GE(more.bytes(config(), 1) - memory.bytes(config(), 1), 76 * row);
}

TEST_F(WavefrontRows, PatternsThatAreShownCountForTheBudget) {
  work_.task(prompt(300), std::vector<Edit>());
  WavefrontMemory memory = memory_of(work_.forest(config()), work_.tasks());
  const int64_t unseen = memory.bytes(config(), 3);
  memory.observed = 300;
  // On each of three threads at least [queries, keys] of the two heads that share keys.
  EXPECT_GE(memory.bytes(config(), 3) - unseen, 3 * 2 * 300 * 300 * 4);
  std::vector<TaskResult> results(1);
  const auto chunk = [&](bool observed) {
    (void)next_chunk(work_.prompts(), work_.tasks(), config(), 3, unseen, observed, results);
  };
  EXPECT_NO_THROW(chunk(false));
  EXPECT_THROW(chunk(true), Error);
}

using WavefrontRowsDeath = WavefrontRows;

TEST_F(WavefrontRowsDeath, OneRowLessIsNotEnough) {
  const int32_t of = prompt(5);
  work_.task(of, {zero(1, 2, {4})});
  EXPECT_EQ(owned_rows(6), 6);
  EXPECT_DEATH((void)owned_rows(5), "more rows than was reckoned");
}

// --- what shares a stream gives each task its own answer ---------------------------------------

class SharedStreams : public WavefrontRows {
 protected:
  void expect_naive_bits() {
    LoadedModel model(open_checkpoint(golden_path("checkpoints/llama-random")));
    const auto expected = model.naive()->run(work_.prompts(), work_.tasks());
    const auto found = model.wavefront()->run(work_.prompts(), work_.tasks());
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_TRUE(same_bits(found[i], expected[i])) << "task " << i;
  }
};

/// Zeroing what leaves layer 0 and what enters layer 1 is the same run, but what is kept of
/// resid_post is edited in one of them only.
TEST_F(SharedStreams, KeptResidualsBetweenLayersSeeTheirOwnEditsOnly) {
  const Edit before = {.site = Site::resid_pre, .layer = 1, .positions = {2}};
  const Edit after = {.site = Site::resid_post, .layer = 0, .positions = {2}};
  const std::vector<ActivationPoint> kept = {{Site::resid_post, 0, 2}, {Site::resid_pre, 1, 2}};
  const int32_t of = prompt(4);
  for (const Edit& edit : {before, after})
    work_.task_with(of, {Side::clean, {edit}, {}}, {{.position = 3, .tracked = {1}}}, kept);
  expect_naive_bits();
}

/// The same on two prompts that share the edited position.
TEST_F(SharedStreams, KeptResidualsOfSharedBeginningsSeeTheirOwnEditsOnly) {
  const Edit before = {.site = Site::resid_pre, .layer = 1, .positions = {1}};
  const Edit after = {.site = Site::resid_post, .layer = 0, .positions = {1}};
  const std::vector<ActivationPoint> kept = {{Site::resid_post, 0, 1}, {Site::resid_pre, 1, 1}};
  const int32_t one = work_.prompt({1, 2, 3, 4});
  const int32_t other = work_.prompt({1, 2, 3, 5});
  work_.task_with(one, {Side::clean, {before}, {}}, {{.position = 3, .tracked = {1}}}, kept);
  work_.task_with(other, {Side::clean, {after}, {}}, {{.position = 3, .tracked = {1}}}, kept);
  expect_naive_bits();
}

/// A joint edit on one prompt goes on from its first part and begins like a joint edit of another
/// prompt: it may not have rows of its own before the layer of its own edits, or it misses those of
/// the first part.
TEST_F(SharedStreams, JointEditsThatBeginLikeAnotherPromptsKeepEveryEdit) {
  const int32_t one = work_.prompt({1, 2, 3, 4});
  const int32_t other = work_.prompt({1, 2, 3, 5});
  const Edit shared = zero(0, 0, {0});
  const Edit above = zero(1, 0, {3});  // after what the prompts share
  const Edit late = zero(2, 1, {1});
  work_.task(one, {shared, late});
  work_.task(other, {shared, above});
  work_.task(other, {shared, above, late});
  expect_naive_bits();
}

}  // namespace
}  // namespace mechsweep
