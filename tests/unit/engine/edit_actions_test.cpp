// Edits of attention, the order in which edits act, and tasks that cannot be meant.

#include <cmath>

#include <gtest/gtest.h>

#include "engine/edit_values.h"
#include "engine_support.h"
#include "forest_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

/// llama-random: 3 layers, 4 query and 2 key/value heads of 8, residual stream 32.
class EditActions : public ::testing::Test {
 protected:
  EditActions()
      : checkpoint_(open_checkpoint(golden_path("checkpoints/llama-random"))),
        pool_(1),
        model_(checkpoint_, group_, {}) {}

  Checkpoint checkpoint_;
  SoloGroup group_;
  ThreadPool pool_;
  Model model_;
};

// --- attention ---------------------------------------------------------------------------------

/// Rows whose numbers tell site, position and place; patterns that tell head, query and key.
class TellingDonor final : public DonorSource {
 public:
  [[nodiscard]] const float* row(const Edit&, Site site, int32_t position) const override {
    row_.resize(32);
    for (size_t i = 0; i < row_.size(); ++i)
      row_[i] = static_cast<float>(1000 * static_cast<int>(site) + 100 * position) +
                static_cast<float>(i);
    return row_.data();
  }
  [[nodiscard]] const float* pattern(const Edit&, int head, int32_t query) const override {
    row_.assign(query + 1, 0.0F);
    for (int32_t key = 0; key <= query; ++key)
      row_[key] = static_cast<float>(1000 * head + 10 * query + key);
    return row_.data();
  }

 private:
  mutable std::vector<float> row_;
};

constexpr int32_t kTokens = 12;  ///< of the edited run

class AttentionEdits : public EditActions {
 protected:
  AttentionChange changed(const Edit& edit, int32_t query, int head) {
    AttentionChange change;
    change_attention(model_, edit, TellingDonor(), {query, kTokens}, head, change);
    return change;
  }
  /// Numbers first, first + 1, ... of a head, turned by its position's angles: pair (i, i + 4) by
  /// position / 500^(i / 4).
  static std::vector<double> turned(double first, int32_t position) {
    std::vector<double> values(8);
    for (int i = 0; i < 4; ++i) {
      const double angle = position * std::pow(500.0, -i / 4.0);
      const double x = first + i;
      const double y = first + i + 4;
      values[i] = x * std::cos(angle) - y * std::sin(angle);
      values[i + 4] = y * std::cos(angle) + x * std::sin(angle);
    }
    return values;
  }
  static void expect_vector(const EdgeVector& vector, const std::vector<double>& expected) {
    EXPECT_EQ(vector.kind, EdgeVector::Kind::given);
    ASSERT_EQ(vector.values.size(), expected.size());
    for (size_t e = 0; e < expected.size(); ++e)
      EXPECT_NEAR(vector.values[e], expected[e], 1e-6 * 5000.0);
  }
  static Edit edge_edit(Site site, Operation operation) {
    return {.site = site,
            .layer = 1,
            .heads = {3},
            .operation = operation,
            .edges = {{5, 2}, {6, 2}, {5, 4}}};
  }
};

/// Query head 3 reads key/value head 1; queries and keys are rotated to where they stand.
TEST_F(AttentionEdits, EdgesTakeTheDonorsVectors) {
  const AttentionChange query = changed(edge_edit(Site::q, Operation::replace), 5, 3);
  ASSERT_EQ(query.edges.size(), 2U);
  EXPECT_EQ(query.edges[0].key, 2);
  EXPECT_EQ(query.edges[1].key, 4);
  expect_vector(query.edges[1].query_vector, turned(1000 * 1 + 500 + 24, 5));
  const AttentionChange key = changed(edge_edit(Site::k, Operation::replace), 5, 3);
  expect_vector(key.edges.at(1).key_vector, turned(1000 * 2 + 400 + 8, 4));
  EXPECT_EQ(key.edges[1].query_vector.kind, EdgeVector::Kind::own);
  const AttentionChange value = changed(edge_edit(Site::v, Operation::replace), 6, 3);
  ASSERT_EQ(value.edges.size(), 1U);
  expect_vector(value.edges[0].value_vector, {3208, 3209, 3210, 3211, 3212, 3213, 3214, 3215});
}

TEST_F(AttentionEdits, EdgesOfOneKeyMeetInOneChange) {
  AttentionChange change;
  change_attention(model_, edge_edit(Site::q, Operation::cut), TellingDonor(), {5, kTokens}, 3,
                   change);
  change_attention(model_, edge_edit(Site::k, Operation::zero), TellingDonor(), {5, kTokens}, 3,
                   change);
  change_attention(model_, edge_edit(Site::v, Operation::zero), TellingDonor(), {5, kTokens}, 3,
                   change);
  ASSERT_EQ(change.edges.size(), 2U);
  for (const EdgeChange& edge : change.edges) {
    EXPECT_TRUE(edge.cut);
    EXPECT_EQ(edge.query_vector.kind, EdgeVector::Kind::own);
    EXPECT_EQ(edge.key_vector.kind, EdgeVector::Kind::zero);
    EXPECT_EQ(edge.value_vector.kind, EdgeVector::Kind::zero);
  }
  EXPECT_EQ(change.pattern, AttentionChange::Pattern::keep);
}

TEST_F(AttentionEdits, Patterns) {
  Edit edit{.site = Site::pattern, .layer = 1, .heads = {1, 2}, .positions = {3, 5}};
  EXPECT_EQ(changed(edit, 3, 2).pattern, AttentionChange::Pattern::zero);
  edit.operation = Operation::replace;
  const AttentionChange change = changed(edit, 3, 2);
  EXPECT_EQ(change.pattern, AttentionChange::Pattern::replace);
  EXPECT_EQ(change.probabilities, (std::vector<float>{2030, 2031, 2032, 2033}));
  EXPECT_TRUE(edits_attention(edit));
  EXPECT_EQ(queries_of(edit), (std::vector<int32_t>{3, 5}));
  EXPECT_EQ(queries_of(edge_edit(Site::v, Operation::zero)), (std::vector<int32_t>{5, 6}));
}

// --- order -------------------------------------------------------------------------------------

TEST_F(EditActions, HooksOfARowActInOrderAndAreCopiedLast) {
  const auto one = std::make_shared<const std::vector<float>>(32, 1.0F);
  const Edit add{.site = Site::mlp_out, .operation = Operation::add, .vector = one, .scale = 2.0F};
  const Edit replace{.site = Site::mlp_out, .operation = Operation::replace, .vector = one};
  SiteHooks hooks;
  EXPECT_TRUE(hooks.empty());
  std::vector<float> kept(32);
  hooks.capture(7, kept.data());
  hooks.edit(9, {&replace});
  hooks.edit(7, {&replace});
  hooks.edit(7, {&add});
  hooks.edit(9, {&add});
  hooks.edit(9, {&replace});
  hooks.finish();
  EXPECT_TRUE(hooks.touches(7) && hooks.touches(9));
  EXPECT_FALSE(hooks.touches(8) || hooks.touches(0) || hooks.touches(10));
  const auto after = [&](int64_t row) {
    std::vector<float> values(32, 5.0F);
    hooks.apply(model_, row, values.data(), 32);
    return values;
  };
  EXPECT_EQ(after(7), std::vector<float>(32, 3.0F));
  EXPECT_EQ(kept, std::vector<float>(32, 3.0F));
  EXPECT_EQ(after(9), std::vector<float>(32, 1.0F));
  EXPECT_EQ(after(8), std::vector<float>(32, 5.0F));
}

TEST_F(EditActions, EditsActInTheOrderOfComputation) {
  const Intervention intervention = {
      .edits = {zero_head(1, 0, {1}),
                {.site = Site::resid_pre, .layer = 1, .positions = {1}},
                zero_head(0, 2, {1}),
                zero_head(1, 1, {0}),
                {.site = Site::resid_post, .layer = 0, .positions = {1}}}};
  std::vector<int64_t> order;
  for (const Edit* edit : in_compute_order(intervention))
    order.push_back(edit - intervention.edits.data());
  EXPECT_EQ(order, (std::vector<int64_t>{2, 4, 1, 0, 3}));
}

// --- tasks that point at nothing ---------------------------------------------------------------

using EditActionsDeath = EditActions;

TEST_F(EditActionsDeath, TasksThatPointAtNothingAreFaults) {
  Work work;
  const int32_t prompt = work.prompt({1, 2, 3}, {4, 5, 6});
  (void)work.prompt({1, 2});
  const auto check = [&](const Edit& edit) {
    check_task(work.prompts(), {.prompt = prompt, .intervention = {Side::clean, {edit}, {}}},
               model_.config());
  };
  check(zero_head(2, 3, {0, 2}));  // fits
  EXPECT_DEATH(check(zero_head(3, 0, {0})), "outside the layers");
  EXPECT_DEATH(check(zero_head(0, 4, {0})), "heads do not fit");
  EXPECT_DEATH(check(zero_head(0, 0, {3})), "outside its prompt");
  EXPECT_DEATH(check(zero_head(0, 0, {})), "outside its prompt");
  EXPECT_DEATH(check(cut_edge(0, 1, 2)), "edge is outside its prompt");
  EXPECT_DEATH(check(patch(Site::z, 0, {0}, {1, Side::clean})), "another length");
  EXPECT_DEATH(check(patch(Site::z, 0, {0}, {2, Side::clean})), "donor run is missing");
  EXPECT_DEATH(check({.site = Site::mlp_out, .positions = {0}, .operation = Operation::cut}),
               "does not fit its site");
  EXPECT_DEATH(check({.site = Site::mlp_out, .positions = {0}, .operation = Operation::add}),
               "wrong width");
  EXPECT_DEATH(check({.site = Site::mlp_out, .positions = {0}, .operation = Operation::mean}),
               "no sums of its site");
}

}  // namespace
}  // namespace mechsweep
