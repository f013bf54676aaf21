#include "experiments/flops.h"

#include <gtest/gtest.h>

#include "unit/experiments/experiment_support.h"

namespace mechsweep {
namespace {

using test_experiments::small_model;

// D 8, 2 heads of 4, 1 key/value head, F 16 gated, V 100. By hand, for every row:
constexpr double kProjections = 2 * 8 * (8 + 4 + 4);
constexpr double kOutput = 2 * 8 * 8;
constexpr double kMlp = 2 * 8 * 16 * 3;
constexpr double kUnembedding = 2 * 8 * 100;
constexpr double kPair = 2 * 8 * 2;  // q.k and the weighted value, for every (query, key)
constexpr double kRow = kProjections + kOutput + kMlp;
constexpr int64_t kTokens = 5;

std::vector<ReadPoint> reads_at(const std::vector<int32_t>& positions) {
  std::vector<ReadPoint> reads;
  for (const int32_t position : positions) reads.push_back({.position = position});
  return reads;
}

/// In a model of four layers.
double cost(const std::vector<Edit>& edits, const std::vector<int32_t>& read_positions,
            Downstream downstream = Downstream::recompute) {
  return intervention_flops(small_model(4, 2), kTokens, {Side::clean, edits, downstream},
                            reads_at(read_positions));
}

TEST(Flops, WholePasses) {
  EXPECT_EQ(forward_flops(small_model(3, 2), kTokens, 2),
            3 * (5 * kRow + 15 * kPair) + 2 * kUnembedding);
  const double base =
      2 * (5 * kRow + 15 * kPair) + 5 * kProjections + 2 * (kOutput + kMlp) + (2 + 5) * kPair;
  // Two targets may stand at one position: its row is computed once.
  EXPECT_EQ(base_flops(small_model(3, 2), kTokens, reads_at({1, 4, 4}), false), base);
  EXPECT_EQ(base_flops(small_model(3, 2), kTokens, reads_at({1, 4}), true),
            base + 2 * kUnembedding);
  // Nobody needs the tokens after the last that is read.
  EXPECT_EQ(base_flops(small_model(3, 2), 100, reads_at({1, 4}), false), base);
}

/// Layer 2 in full, then the last, where row 4 alone is read: rows 2, 3 and 4.
constexpr double kLayer2 = 3 * kRow + (3 + 4 + 5) * kPair;
constexpr double kLayer3 = 3 * kProjections + kOutput + kMlp + 5 * kPair + kUnembedding;
/// When only row 2 comes out of layer 1, only that row is projected in layer 2.
constexpr double kSpreadInLayer2 = kLayer2 - 2 * kProjections;

TEST(Flops, ALayerIsEnteredAtItsEditAndRowsSpreadThroughAttention) {
  const auto at = [](Site site) {
    return cost({{.site = site, .layer = 1, .positions = {2}}}, {4});
  };
  // Row 2 is projected; rows 3 and 4 see its key.
  const double whole = kProjections + 3 * (kOutput + kMlp) + (3 + 4 + 5) * kPair;
  for (const Site site : {Site::resid_pre, Site::q, Site::k, Site::v})
    EXPECT_EQ(at(site), whole + kLayer2 + kLayer3) << site_info(site).name;
  // One query's row alone changes in its own layer.
  EXPECT_EQ(at(Site::pattern), 3 * kPair + kOutput + kMlp + kSpreadInLayer2 + kLayer3);
  for (const Site site : {Site::z, Site::attn_out, Site::resid_mid})
    EXPECT_EQ(at(site), kOutput + kMlp + kSpreadInLayer2 + kLayer3) << site_info(site).name;
  for (const Site site : {Site::mlp_in, Site::mlp_norm, Site::mlp_hidden, Site::mlp_out})
    EXPECT_EQ(at(site), kMlp + kSpreadInLayer2 + kLayer3) << site_info(site).name;
  EXPECT_EQ(at(Site::resid_post), kSpreadInLayer2 + kLayer3);
}

TEST(Flops, AnAttentionEdgeChangesItsQuery) {
  EXPECT_EQ(cost({{.site = Site::k, .layer = 1, .edges = {{2, 0}, {4, 1}}}}, {4}),
            (3 + 5) * kPair + 2 * (kOutput + kMlp) + kLayer2 - kProjections + kLayer3);
}

TEST(Flops, LayersWithoutEditsInBetweenAreAllAlike) {
  const Edit edit{.site = Site::resid_pre, .layer = 0, .positions = {2, 3, 4}};
  EXPECT_EQ(cost({edit}, {4}), 3 * kLayer2 + kLayer3);
  EXPECT_EQ(intervention_flops(small_model(9, 2), kTokens, {Side::clean, {edit}}, reads_at({4})),
            8 * kLayer2 + kLayer3);
}

TEST(Flops, LaterEditsWidenTheRows) {
  const Edit early{.site = Site::resid_post, .layer = 0, .positions = {4}};
  const Edit wide{.site = Site::mlp_out, .layer = 1, .positions = {2}};
  // Layer 1: row 4 in full, row 2 in the MLP. Layer 2 projects both and spreads from 2 on.
  EXPECT_EQ(cost({wide, early}, {4}), kRow + 5 * kPair + kMlp + kLayer2 - kProjections + kLayer3);
}

TEST(Flops, WhatIsReadBeforeEveryEditCostsNothing) {
  EXPECT_EQ(cost({{.site = Site::z, .layer = 0, .positions = {3}}}, {0, 2}), 0.0);
  EXPECT_EQ(cost({}, {4}), 0.0);
}

TEST(Flops, InTheLastLayerOnlyReadRowsCount) {
  EXPECT_EQ(cost({{.site = Site::z, .layer = 3, .positions = {1, 2, 3, 4}}}, {0, 4}),
            kOutput + kMlp + kUnembedding);
  EXPECT_EQ(cost({{.site = Site::k, .layer = 3, .positions = {1}}}, {0, 2, 4}),
            kProjections + (3 + 5) * kPair + 2 * (kOutput + kMlp + kUnembedding));
}

TEST(Flops, WhatLeavesTheLastLayerOnlyNeedsItsLogits) {
  EXPECT_EQ(cost({{.site = Site::resid_post, .layer = 3, .positions = {1, 4}}}, {1, 4}),
            2 * kUnembedding);
}

TEST(Flops, FrozenBlocksCostNothing) {
  const auto at = [](Site site) {
    return cost({{.site = site, .layer = 1, .positions = {3}}}, {4}, Downstream::freeze);
  };
  EXPECT_EQ(at(Site::resid_pre), kUnembedding);
  EXPECT_EQ(at(Site::k), kProjections + 2 * kOutput + (4 + 5) * kPair + kUnembedding);
  EXPECT_EQ(at(Site::z), kOutput + kUnembedding);
  EXPECT_EQ(at(Site::attn_out), kUnembedding);
  EXPECT_EQ(at(Site::resid_mid), kUnembedding);
  EXPECT_EQ(at(Site::mlp_hidden), kMlp + kUnembedding);
  EXPECT_EQ(at(Site::mlp_out), kUnembedding);
}

}  // namespace
}  // namespace mechsweep
