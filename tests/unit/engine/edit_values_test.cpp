// What edits do to numbers, against arithmetic by hand.

#include "engine/edit_values.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "engine_support.h"
#include "forest_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;

std::shared_ptr<const std::vector<float>> shared(std::vector<float> values) {
  return std::make_shared<const std::vector<float>>(std::move(values));
}

/// llama-random: 4 query and 2 key/value heads of 8, residual stream 32, no biases.
class EditValues : public ::testing::Test {
 protected:
  explicit EditValues(const char* checkpoint = "checkpoints/llama-random")
      : checkpoint_(open_checkpoint(golden_path(checkpoint))),
        pool_(1),
        model_(checkpoint_, group_, {}) {}

  [[nodiscard]] const ModelConfig& config() const { return model_.config(); }
  [[nodiscard]] int64_t head_size() const { return config().head_size; }

  /// 1, 1.25, 1.5, ...: sums and products of a few of these are exact.
  static std::vector<float> steps(int64_t count, float first = 1.0F) {
    std::vector<float> values(count);
    for (int64_t i = 0; i < count; ++i) values[i] = first + 0.25F * static_cast<float>(i);
    return values;
  }
  /// A direction of length 1 along one axis.
  static std::shared_ptr<const std::vector<float>> axis(int64_t width, int64_t place) {
    std::vector<float> values(width, 0.0F);
    values[place] = 1.0F;
    return shared(std::move(values));
  }

  /// The row after the edit; nothing may be written past it.
  std::vector<float> edited(const Edit& edit, std::vector<float> row, const float* donor = nullptr,
                            int64_t from_end = 0) {
    EXPECT_EQ(std::ssize(row), site_width(edit.site, config()));
    row.push_back(777.0F);
    apply_edit(model_, {&edit, donor, from_end}, row.data());
    EXPECT_EQ(row.back(), 777.0F);
    row.pop_back();
    return row;
  }
  /// The row with heads replaced by what `of` gives for each of their numbers.
  template <typename Of>
  std::vector<float> with_heads(std::vector<float> row, const std::vector<int32_t>& heads,
                                const Of& of) {
    for (const int32_t head : heads)
      for (int64_t e = 0; e < head_size(); ++e) row[head * head_size() + e] = of(head, e);
    return row;
  }

  Checkpoint checkpoint_;
  SoloGroup group_;
  ThreadPool pool_;
  Model model_;
};

TEST_F(EditValues, Zero) {
  const std::vector<float> z = steps(32);
  EXPECT_EQ(edited({.site = Site::z, .heads = {1, 3}}, z),
            with_heads(z, {1, 3}, [](int32_t, int64_t) { return 0.0F; }));
  EXPECT_EQ(edited({.site = Site::k, .heads = {1}}, steps(16)),
            with_heads(steps(16), {1}, [](int32_t, int64_t) { return 0.0F; }));
  EXPECT_EQ(edited({.site = Site::mlp_hidden}, steps(44)), std::vector<float>(44, 0.0F));
}

TEST_F(EditValues, ReplaceByAVectorOrTheDonor) {
  const std::vector<float> donor = steps(32, 100.0F);
  EXPECT_EQ(
      edited({.site = Site::resid_mid, .operation = Operation::replace}, steps(32), donor.data()),
      donor);
  // A head gets the donor's head of the same number.
  EXPECT_EQ(
      edited({.site = Site::q, .heads = {0, 2}, .operation = Operation::replace}, steps(32),
             donor.data()),
      with_heads(steps(32), {0, 2}, [&](int32_t head, int64_t e) { return donor[head * 8 + e]; }));
  // Each head gets the whole vector.
  const auto given = shared(steps(8, -3.0F));
  EXPECT_EQ(
      edited({.site = Site::v, .heads = {0, 1}, .operation = Operation::replace, .vector = given},
             steps(16)),
      with_heads(steps(16), {0, 1}, [&](int32_t, int64_t e) { return (*given)[e]; }));
}

TEST_F(EditValues, AddAScaledDirection) {
  const auto direction = shared(steps(8, -1.0F));  // of any length
  EXPECT_EQ(edited({.site = Site::z,
                    .heads = {2},
                    .operation = Operation::add,
                    .vector = direction,
                    .scale = -1.5F},
                   steps(32)),
            with_heads(steps(32), {2}, [&](int32_t head, int64_t e) {
              return steps(32)[head * 8 + e] - 1.5F * (*direction)[e];
            }));
}

TEST_F(EditValues, RemoveADirection) {
  std::vector<float> expected = steps(32);
  expected[5] = 0.0F;
  EXPECT_EQ(edited({.site = Site::mlp_in, .operation = Operation::remove, .vector = axis(32, 5)},
                   steps(32)),
            expected);
  // (0.6, 0.8) over two numbers: x - (x . d) d, in double precision.
  std::vector<float> values(8, 0.0F);
  values[1] = 0.6F;
  values[6] = 0.8F;
  const auto direction = shared(values);
  const std::vector<float> before = steps(32);
  const std::vector<float> after = edited(
      {.site = Site::z, .heads = {0, 3}, .operation = Operation::remove, .vector = direction},
      before);
  for (const int32_t head : {0, 3}) {
    const float* x = before.data() + head * 8;
    const double along = 0.6 * static_cast<double>(x[1]) + 0.8 * static_cast<double>(x[6]);
    for (int64_t e = 0; e < 8; ++e)
      EXPECT_NEAR(after[head * 8 + e],
                  static_cast<double>(x[e]) - along * (e == 1   ? 0.6
                                                       : e == 6 ? 0.8
                                                                : 0.0),
                  2e-6);
  }
  EXPECT_EQ(std::vector(after.begin() + 8, after.begin() + 24),
            std::vector(before.begin() + 8, before.begin() + 24));
}

TEST_F(EditValues, TransplantADirection) {
  const std::vector<float> donor = steps(32, 40.0F);
  std::vector<float> expected = steps(32);
  expected[9] = donor[9];
  EXPECT_EQ(
      edited({.site = Site::resid_post, .operation = Operation::transplant, .vector = axis(32, 9)},
             steps(32), donor.data()),
      expected);
  // Of heads, each along its own share.
  EXPECT_EQ(edited({.site = Site::z,
                    .heads = {1, 2},
                    .operation = Operation::transplant,
                    .vector = axis(8, 3)},
                   steps(32), donor.data()),
            with_heads(steps(32), {1, 2}, [&](int32_t head, int64_t e) {
              return e == 3 ? donor[head * 8 + 3] : steps(32)[head * 8 + e];
            }));
}

/// Three runs with a token at the last place, two of them one place before; layers differ.
TEST_F(EditValues, MeanOverRunsWithAndWithoutTheOwn) {
  ActivationSums sums{.site = Site::z, .layers = 3, .width = 32, .counts = {3, 2}, .sums = {}};
  for (int layer = 0; layer < 3; ++layer)
    for (int from_end = 0; from_end < 2; ++from_end)
      for (int i = 0; i < 32; ++i)
        sums.sums.push_back(6.0 * (100.0 * layer + 10.0 * from_end + static_cast<double>(i)));
  Edit edit{.site = Site::z,
            .layer = 2,
            .heads = {1},
            .operation = Operation::mean,
            .sums = std::make_shared<const ActivationSums>(sums)};
  const auto sum_at = [](int64_t from_end, int64_t i) {
    return 6.0F * (200.0F + 10.0F * static_cast<float>(from_end) + static_cast<float>(i));
  };
  EXPECT_EQ(
      edited(edit, steps(32), nullptr, 0),
      with_heads(steps(32), {1}, [&](int32_t, int64_t e) { return sum_at(0, 8 + e) / 3.0F; }));
  EXPECT_EQ(
      edited(edit, steps(32), nullptr, 1),
      with_heads(steps(32), {1}, [&](int32_t, int64_t e) { return sum_at(1, 8 + e) / 2.0F; }));
  edit.leave_out = true;
  const std::vector<float> own = steps(32, 2.0F);
  EXPECT_EQ(edited(edit, steps(32), own.data(), 0),
            with_heads(steps(32), {1},
                       [&](int32_t, int64_t e) { return (sum_at(0, 8 + e) - own[8 + e]) / 2.0F; }));
  // The only other run is what is left.
  EXPECT_EQ(edited(edit, steps(32), own.data(), 1),
            with_heads(steps(32), {1},
                       [&](int32_t, int64_t e) { return sum_at(1, 8 + e) - own[8 + e]; }));
}

TEST_F(EditValues, AValueBiasThatIsNotThereIsZero) {
  EXPECT_EQ(model_.value_bias(0, 0), nullptr);
  EXPECT_EQ(edited({.site = Site::z, .heads = {2}, .operation = Operation::value_bias}, steps(32)),
            with_heads(steps(32), {2}, [](int32_t, int64_t) { return 0.0F; }));
}

/// Biases as they stand in the file: of the key/value head that a query head reads.
class ValueBias : public EditValues {
 protected:
  explicit ValueBias(const char* checkpoint) : EditValues(checkpoint) {}

  void expect_bias(const std::string& tensor, int layer, int64_t first) {
    const auto count = checkpoint_.source->require(tensor).shape.at(0);
    std::vector<float> bias(count);
    checkpoint_.source->read_rows(tensor, 0, count, bias.data());
    const int group = config().n_heads / config().n_kv_heads;
    const std::vector<float> row = steps(config().n_heads * head_size());
    for (int32_t head = 0; head < config().n_heads; ++head)
      EXPECT_EQ(edited({.site = Site::z,
                        .layer = layer,
                        .heads = {head},
                        .operation = Operation::value_bias},
                       row),
                with_heads(row, {head},
                           [&](int32_t, int64_t e) {
                             return bias[first + head / group * head_size() + e];
                           }))
          << head;
    EXPECT_GT(std::accumulate(bias.begin() + first, bias.end(), 0.0F,
                              [](float sum, float value) { return sum + std::abs(value); }),
              0.1F);
  }
};

class LlamaValueBias : public ValueBias {
 protected:
  LlamaValueBias() : ValueBias("checkpoints/llama-random-sharded") {}
};
class Gpt2ValueBias : public ValueBias {
 protected:
  Gpt2ValueBias() : ValueBias("checkpoints/gpt2-random") {}
};

TEST_F(LlamaValueBias, OfTheGroupsKeyValueHead) {
  expect_bias("model.layers.1.self_attn.v_proj.bias", 1, 0);
}

TEST_F(Gpt2ValueBias, OfTheLastThirdOfTheProjection) {
  const std::string name = "h.1.attn.c_attn.bias";
  expect_bias(checkpoint_.source->find(name) != nullptr ? name : "transformer." + name, 1, 72);
}

}  // namespace
}  // namespace mechsweep
