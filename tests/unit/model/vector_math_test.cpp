#include "model/vector_math.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "core/random.h"

namespace mechsweep {
namespace {

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
