#include "model/attention.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "core/random.h"
#include "model/vector_math.h"

namespace mechsweep {
namespace {

struct Case {
  int64_t tokens;
  int64_t head_size;
};

/// Random queries, keys and values, [T, 3 E] as a projection lays them side by side.
std::vector<float> random_rows(const Case& shape, uint64_t index) {
  RandomStream random(3, "tests/attention", index);
  std::vector<float> rows(shape.tokens * 3 * shape.head_size);
  for (float& value : rows) value = static_cast<float>(random.uniform() * 4.0 - 2.0);
  return rows;
}

class Attention : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr double kScale = 0.37;
  /// Scores reach 20, so rounding moves one by some 4e-6 and its weight by that share; values by 2.
  static constexpr double kRoom = 2e-5;

  HeadCache cache_of(const std::vector<float>& rows, int64_t tokens) const {
    const int64_t size = GetParam().head_size;
    HeadCache cache;
    cache.fill(rows.data() + size, rows.data() + 2 * size, tokens, size, 3 * size);
    return cache;
  }

  /// One row of attention in double precision, by the definition.
  void exact_row(const std::vector<float>& rows, int64_t position, std::vector<double>& pattern,
                 std::vector<double>& out) const {
    const int64_t size = GetParam().head_size;
    const auto at = [&](int64_t t, int64_t part, int64_t e) {
      return static_cast<double>(rows[t * 3 * size + part * size + e]);
    };
    pattern.assign(position + 1, 0.0);
    double total = 0.0;
    for (int64_t key = 0; key <= position; ++key) {
      double score = 0.0;
      for (int64_t e = 0; e < size; ++e) score += at(position, 0, e) * at(key, 1, e);
      pattern[key] = std::exp(kScale * score);
      total += pattern[key];
    }
    out.assign(size, 0.0);
    for (int64_t key = 0; key <= position; ++key) {
      pattern[key] /= total;
      for (int64_t e = 0; e < size; ++e) out[e] += pattern[key] * at(key, 2, e);
    }
  }
};

TEST_P(Attention, AgreesWithDoublePrecision) {
  const auto [tokens, size] = GetParam();
  const auto rows = random_rows(GetParam(), 0);
  const HeadCache cache = cache_of(rows, tokens);
  std::vector<float> pattern(cache.key_stride, -1.0F);
  // One float more than a head, to see that nothing is written past it.
  std::vector<float> out(size + 1, 123.0F);
  std::vector<double> exact_pattern;
  std::vector<double> exact_out;
  for (int64_t q = 0; q < tokens; ++q) {
    attend_row(cache, rows.data() + q * 3 * size, q, static_cast<float>(kScale), pattern.data(),
               out.data());
    exact_row(rows, q, exact_pattern, exact_out);
    for (int64_t key = 0; key < cache.key_stride; ++key) {
      if (key <= q) {
        EXPECT_NEAR(pattern[key], exact_pattern[key], kRoom) << q << " " << key;
      } else {
        EXPECT_EQ(pattern[key], 0.0F) << q << " " << key;
      }
    }
    for (int64_t e = 0; e < size; ++e) EXPECT_NEAR(out[e], exact_out[e], kRoom) << q << " " << e;
    EXPECT_EQ(out[size], 123.0F);
  }
}

TEST_P(Attention, LaterKeysDoNotChangeABit) {
  const auto [tokens, size] = GetParam();
  const auto rows = random_rows(GetParam(), 1);
  const HeadCache whole = cache_of(rows, tokens);
  std::vector<float> pattern(whole.key_stride);
  for (int64_t q = 0; q < tokens; ++q) {
    const HeadCache prefix = cache_of(rows, q + 1);
    std::vector<float> one(size);
    std::vector<float> other(size);
    const float* query = rows.data() + q * 3 * size;
    attend_row(whole, query, q, static_cast<float>(kScale), pattern.data(), one.data());
    attend_row(prefix, query, q, static_cast<float>(kScale), pattern.data(), other.data());
    EXPECT_EQ(std::memcmp(one.data(), other.data(), size * sizeof(float)), 0) << q;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         ::testing::Values(Case{1, 8}, Case{5, 10}, Case{16, 16}, Case{17, 64},
                                           Case{40, 80}, Case{130, 128}),
                         [](const auto& param_info) {
                           return fmt::format("T{}E{}", param_info.param.tokens,
                                              param_info.param.head_size);
                         });

MECHSWEEP_MULTIVERSION
void exp_of(const float* x, float* out) {
  store(out, exp_nonpositive(load(x)));
}
MECHSWEEP_MULTIVERSION
void sigmoid_of(const float* x, float* out) {
  store(out, sigmoid(load(x)));
}

TEST(VectorMath, ExpIsWithinTwoUnitsInTheLastPlace) {
  double worst = 0.0;
  for (int64_t step = 0; step <= 1'000'000; ++step) {
    float x[kLanes];
    float found[kLanes];
    for (int lane = 0; lane < kLanes; ++lane)
      x[lane] = -87.0F * static_cast<float>(step * kLanes + lane) / (1'000'000.0F * kLanes + 16.0F);
    exp_of(x, found);
    for (int lane = 0; lane < kLanes; ++lane) {
      const double exact = std::exp(static_cast<double>(x[lane]));
      const double unit = std::ldexp(1.0, std::ilogb(exact) - 23);
      worst = std::max(worst, std::abs(static_cast<double>(found[lane]) - exact) / unit);
    }
  }
  EXPECT_LE(worst, 2.0);
  RecordProperty("worst_units_in_the_last_place", std::to_string(worst));
}

TEST(VectorMath, ExpAtTheEdges) {
  float x[kLanes] = {0.0F, -0.0F, -1e-30F, -87.5F, -1e30F, -INFINITY};
  float found[kLanes];
  exp_of(x, found);
  EXPECT_EQ(found[0], 1.0F);
  EXPECT_EQ(found[1], 1.0F);
  EXPECT_EQ(found[2], 1.0F);
  EXPECT_EQ(found[3], 0.0F);
  EXPECT_EQ(found[4], 0.0F);
  EXPECT_EQ(found[5], 0.0F);
}

TEST(VectorMath, SigmoidIsRelativelyExactOnBothSides) {
  for (int step = -2000; step <= 2000; ++step) {
    float x[kLanes];
    float found[kLanes];
    for (int lane = 0; lane < kLanes; ++lane)
      x[lane] = static_cast<float>(step) * 0.04F + 0.0025F * static_cast<float>(lane);
    sigmoid_of(x, found);
    for (int lane = 0; lane < kLanes; ++lane) {
      const double exact = 1.0 / (1.0 + std::exp(-static_cast<double>(x[lane])));
      EXPECT_NEAR(found[lane], exact, 4e-7 * exact) << x[lane];
    }
  }
}

MECHSWEEP_MULTIVERSION
void reduce(const float* x, float* sum, float* largest) {
  *sum = sum_lanes(load(x));
  *largest = max_lanes(load(x));
}

TEST(VectorMath, LanesAreAddedInTreeOrder) {
  RandomStream random(5, "tests/lanes");
  for (int draw = 0; draw < 100; ++draw) {
    float x[kLanes];
    for (float& value : x) value = static_cast<float>(random.uniform() - 0.5);
    float tree[kLanes];
    std::copy(x, x + kLanes, tree);
    for (int half = kLanes / 2; half >= 1; half /= 2)
      for (int i = 0; i < half; ++i) tree[i] += tree[i + half];
    float sum = 0.0F;
    float largest = 0.0F;
    reduce(x, &sum, &largest);
    EXPECT_EQ(sum, tree[0]);
    EXPECT_EQ(largest, *std::max_element(x, x + kLanes));
  }
}

}  // namespace
}  // namespace mechsweep
