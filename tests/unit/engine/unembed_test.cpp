#include "engine/unembed.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "core/random.h"
#include "engine/random_tasks.h"
#include "engine/synthetic_model.h"
#include "engine_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

/// The fp32 exponential is good to 2.4e-7, and so are sums of such and their logarithms; in
/// divergences they meet differences of logits of some ten.
constexpr double kRoom = 5e-7;
constexpr double kDivergenceRoom = 1e-5;

bool same(const Reading& a, const Reading& b) {
  return same_bits(TaskResult{.readings = {a}, .activations = {}},
                   TaskResult{.readings = {b}, .activations = {}});
}

/// A checkpoint by name; "synthetic" has a vocabulary of more than one tile.
class Unembed : public ::testing::TestWithParam<const char*> {
 protected:
  Unembed()
      : checkpoint_(GetParam() == std::string("synthetic")
                        ? synthetic_checkpoint(1)
                        : open_checkpoint(golden_path("checkpoints/" + std::string(GetParam())))),
        pool_(2),
        model_(checkpoint_, group_, {}) {}

  /// Rows of a final residual stream.
  [[nodiscard]] std::vector<std::vector<float>> random_rows(int count) const {
    std::vector<std::vector<float>> rows;
    for (int row = 0; row < count; ++row) {
      RandomStream random(13, "tests/resid", static_cast<uint64_t>(row));
      rows.emplace_back(model_.config().d_model);
      for (float& value : rows.back()) value = static_cast<float>(4.0 * random.uniform() - 2.0);
    }
    return rows;
  }
  /// First and last tokens of the vocabulary and of its tiles, the answer among them.
  [[nodiscard]] std::vector<int32_t> tracked() const {
    const int32_t vocab = model_.config().vocab_size;
    std::vector<int32_t> tokens = {vocab / 3, 0, vocab - 1};
    for (const int32_t token : {4095, 4096, 4097})
      if (token < vocab) tokens.push_back(token);
    return tokens;
  }
  std::vector<Reading> read(std::span<const UnembedRow> rows) {
    return unembed(model_, pool_, rows);
  }

  Checkpoint checkpoint_;
  SoloGroup group_;
  ThreadPool pool_;
  Model model_;
};

double exact_logsumexp(const std::vector<float>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

double exact_kl(const std::vector<float>& p, const std::vector<float>& q) {
  const double log_p = exact_logsumexp(p);
  const double log_q = exact_logsumexp(q);
  double kl = 0.0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double a = static_cast<double>(p[i]) - log_p;
    kl += std::exp(a) * (a - (static_cast<double>(q[i]) - log_q));
  }
  return kl;
}

void expect_agrees(const Reading& reading, const ReadPoint& point,
                   const std::vector<const std::vector<float>*>& references) {
  const std::vector<float>& logits = reading.logits;
  EXPECT_NEAR(reading.logsumexp, exact_logsumexp(logits), kRoom);
  const double sum = std::accumulate(logits.begin(), logits.end(), 0.0);
  EXPECT_NEAR(reading.logit_mean, sum / static_cast<double>(logits.size()), 1e-12);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  EXPECT_EQ(reading.top1, order[0]);
  ASSERT_EQ(reading.tracked_logits.size(), point.tracked.size());
  for (size_t i = 0; i < point.tracked.size(); ++i)
    EXPECT_EQ(reading.tracked_logits[i], logits[point.tracked[i]]) << i;
  const float answer = logits[point.tracked[0]];
  EXPECT_EQ(reading.answer_rank, std::count_if(logits.begin(), logits.end(),
                                               [&](float logit) { return logit > answer; }));
  ASSERT_EQ(std::ssize(reading.top), point.top_k);
  for (int32_t i = 0; i < point.top_k; ++i) {
    EXPECT_EQ(reading.top[i].first, order[i]);
    EXPECT_EQ(reading.top[i].second, logits[order[i]]);
  }
  ASSERT_EQ(reading.kl.size(), references.size());
  for (size_t i = 0; i < references.size(); ++i)
    EXPECT_NEAR(reading.kl[i], exact_kl(*references[i], logits), kDivergenceRoom) << i;
}

TEST_P(Unembed, EveryReadoutFollowsFromTheLogits) {
  const auto resid = random_rows(20);
  const ReadPoint point = {.tracked = tracked(),
                           .rank = true,
                           .top_k = 5,
                           .kl = {Side::clean, Side::corrupt},
                           .full_logits = true};
  std::vector<UnembedRow> rows;
  for (size_t i = 0; i < resid.size(); ++i)
    rows.push_back({.resid = resid[i].data(),
                    .point = &point,
                    .references = {resid[0].data(), resid[(i + 1) % resid.size()].data()}});
  const std::vector<Reading> readings = read(rows);
  double largest_kl = 0.0;
  for (size_t i = 0; i < readings.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_EQ(std::ssize(readings[i].logits), model_.config().vocab_size);
    expect_agrees(readings[i], point,
                  {&readings[0].logits, &readings[(i + 1) % readings.size()].logits});
    largest_kl = std::max(largest_kl, readings[i].kl[1]);
  }
  EXPECT_NEAR(readings[0].kl[0], 0.0, 1e-12);
  EXPECT_GT(largest_kl, 0.1);
}

TEST_P(Unembed, WhatIsNotAskedForIsNotThereAndChangesNothing) {
  const auto resid = random_rows(3);
  const ReadPoint little = {.tracked = tracked()};
  const ReadPoint much = {
      .tracked = tracked(), .rank = true, .top_k = 4, .kl = {Side::clean}, .full_logits = true};
  const UnembedRow both[] = {
      {.resid = resid[0].data(), .point = &little, .references = {}},
      {.resid = resid[0].data(), .point = &much, .references = {resid[1].data()}}};
  const std::vector<Reading> together = read(both);
  const Reading alone = read({both, 1})[0];
  EXPECT_TRUE(same(together[0], alone));
  EXPECT_EQ(alone.answer_rank, -1);
  EXPECT_TRUE(alone.top.empty() && alone.kl.empty() && alone.logits.empty());
  Reading reduced = together[1];
  reduced.answer_rank = -1;
  reduced.top.clear();
  reduced.kl.clear();
  reduced.logits.clear();
  EXPECT_TRUE(same(reduced, alone));
}

/// More rows than a block of held logits takes: a row that compares with many runs counts for as
/// many rows of logits, though here these are few.
TEST_P(Unembed, BlocksOfHeldLogitsDoNotChangeABit) {
  constexpr int64_t kRowsABlock = 60;
  const int64_t references = kHeldLogitBytes / (4 * model_.config().vocab_size * kRowsABlock);
  const auto resid = random_rows(3 * kRowsABlock);
  const ReadPoint full = {.tracked = {1}, .rank = true, .top_k = 2};
  const ReadPoint cheap = {.tracked = {2, 96}};
  std::vector<UnembedRow> rows;
  for (size_t i = 0; i < resid.size(); ++i) {
    const bool held = i % 5 != 0;
    rows.push_back({.resid = resid[i].data(), .point = held ? &full : &cheap, .references = {}});
    for (int64_t r = 0; held && r < references; ++r)
      rows.back().references.push_back(resid[(i + r % 3) % resid.size()].data());
  }
  const std::vector<Reading> forwards = read(rows);
  std::reverse(rows.begin(), rows.end());
  const std::vector<Reading> backwards = read(rows);
  std::reverse(rows.begin(), rows.end());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(same(forwards[i], backwards[rows.size() - 1 - i])) << i;
    if (i % 17 == 0) {
      EXPECT_TRUE(same(forwards[i], read({&rows[i], 1})[0])) << i;
    }
  }
}

TEST_P(Unembed, ThreadsAndPlacesDoNotChangeABit) {
  const auto resid = random_rows(300);  // more than two panels
  const ReadPoint point = {.tracked = tracked(), .rank = true};
  std::vector<UnembedRow> rows;
  for (const auto& row : resid)
    rows.push_back({.resid = row.data(), .point = &point, .references = {}});
  const std::vector<Reading> expected = read(rows);
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const size_t first : {0, 1, 127, 128, 299}) {
      const auto some = unembed(model_, pool, std::span(rows).subspan(first));
      for (size_t i = 0; i < some.size(); ++i)
        EXPECT_TRUE(same(some[i], expected[first + i])) << threads << " " << first << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Unembed,
                         ::testing::Values("llama-random", "llama-random-sharded", "gpt2-random",
                                           "synthetic"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// The final norm and the unembedding compute in fp32 whatever the layers do: with a checkpoint
/// whose weights are bfloat16 numbers, so that nothing is left to round, there is no difference.
TEST(UnembedTypes, ReducedPrecisionIsForLayersOnly) {
  const Checkpoint checkpoint = open_checkpoint(golden_path("checkpoints/llama-random-sharded"));
  SoloGroup group;
  ThreadPool pool(1);
  const Model full(checkpoint, group, {});
  const Model half(checkpoint, group, {.type = ComputeType::bfloat16});
  const ReadPoint point = {.tracked = {0, 50, 100}, .full_logits = true};
  RandomStream random(14, "tests/resid");
  for (int row = 0; row < 5; ++row) {
    std::vector<float> resid(full.config().d_model);
    for (float& value : resid) value = static_cast<float>(4.0 * random.uniform() - 2.0);
    const UnembedRow asked = {.resid = resid.data(), .point = &point, .references = {}};
    EXPECT_TRUE(same(unembed(half, pool, {&asked, 1})[0], unembed(full, pool, {&asked, 1})[0]));
  }
}

}  // namespace
}  // namespace mechsweep
