#include "stats/profile_shape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "stats_golden.h"

namespace mechsweep {
namespace {

using testing::expect_same;
using testing::number;
using testing::numbers;

TEST(ProfileShape, MatchesSciPyPeakWidths) {
  const Json& golden = testing::stats_golden()["shapes"];
  int clipped = 0, inside = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    const Json& expected = golden[i];
    const auto shape = profile_shape(numbers(expected["profile"]), numbers(expected["baseline"]),
                                     numbers(expected["upper"]));
    const std::string name = "case " + std::to_string(i) + " ";
    EXPECT_EQ(shape.peak, expected["peak"].get<int64_t>()) << name;
    EXPECT_EQ(shape.inside_null, expected["inside_null"].get<bool>()) << name;
    EXPECT_EQ(shape.clipped, expected["clipped"].get<bool>()) << name;
    const std::vector<std::pair<const char*, double>> values = {{"peak_value", shape.peak_value},
                                                                {"centroid", shape.centroid},
                                                                {"bandwidth", shape.bandwidth},
                                                                {"left", shape.left},
                                                                {"right", shape.right}};
    for (const auto& [key, value] : values)
      expect_same(value, number(expected[key]), 1e-12, name + key);
    clipped += shape.clipped ? 1 : 0;
    inside += shape.inside_null ? 1 : 0;
  }
  EXPECT_GE(clipped, 5);
  EXPECT_GE(inside, 3);
}

TEST(ProfileShape, ATriangleIsAsWideAsGeometrySays) {
  // Height 1 over a baseline of .2 that rises by .1: half of the excess is two layers off the peak.
  std::vector<double> profile, baseline, upper;
  for (int layer = 0; layer < 20; ++layer) {
    baseline.push_back(0.2 + 0.1 * layer);
    upper.push_back(baseline.back() + 0.3);
    profile.push_back(baseline.back() + std::max(0.0, 10.0 * (1.0 - std::abs(layer - 9) / 4.0)));
  }
  const auto shape = profile_shape(profile, baseline, upper);
  EXPECT_EQ(shape.peak, 9);
  EXPECT_NEAR(shape.peak_excess, 10.0, 1e-12);
  EXPECT_NEAR(shape.bandwidth, 4.0 / 20.0, 1e-12);
  EXPECT_NEAR(shape.left, 7.0, 1e-12);
  EXPECT_NEAR(shape.centroid, 9.0, 1e-12);
  EXPECT_FALSE(shape.clipped);
}

TEST(ProfileShape, ALayerAtHalfEndsTheRun) {
  const std::vector<double> zeros(6, 0.0);
  const auto between = profile_shape(std::vector{0.0, 1.0, 0.5, 0.9, 0.0, 0.0}, zeros, zeros);
  EXPECT_DOUBLE_EQ(between.right, 2.0);
  const auto last = profile_shape(std::vector{0.0, 0.0, 0.0, 0.0, 1.0, 0.5}, zeros, zeros);
  EXPECT_DOUBLE_EQ(last.right, 5.0);
  EXPECT_FALSE(last.clipped);
}

TEST(ProfileShape, DepthsAreRelative) {
  EXPECT_DOUBLE_EQ(depth_of(6.0, 24), 0.25);
  EXPECT_DOUBLE_EQ(centre_depth_of(0.0, 2), 0.25);
  EXPECT_DOUBLE_EQ(centre_depth_of(-0.5, 7), 0.0);
  EXPECT_DOUBLE_EQ(centre_depth_of(6.5, 7), 1.0);
}

TEST(ProfileShape, ADoubledNetworkHasTheSameCentreAndWidth) {
  // Every layer twice: relative depth and bandwidth are those of the network, not of its counting.
  const std::vector<double> once{0.0, 0.0, 1.0, 1.0, 0.0, 0.0};
  std::vector<double> twice;
  for (const double value : once) twice.insert(twice.end(), 2, value);
  const std::vector<double> zeros(12, 0.0);
  const auto zero = std::span(zeros);
  const auto small = profile_shape(once, zero.first(6), zero.first(6));
  const auto large = profile_shape(twice, zero, zero);
  EXPECT_NEAR(centre_depth_of(small.centroid, 6), centre_depth_of(large.centroid, 12), 1e-15);
  EXPECT_NEAR(small.bandwidth, large.bandwidth, 1e-15);
}

TEST(ProfileShape, AnUnknownBoundCountsAsInside) {
  const std::vector<double> profile{0.0, 1.0, 0.0}, zeros(3, 0.0);
  const std::vector<double> unknown{0.0, std::nan(""), 0.0};
  EXPECT_FALSE(profile_shape(profile, zeros, zeros).inside_null);
  EXPECT_TRUE(profile_shape(profile, zeros, unknown).inside_null);
  EXPECT_TRUE(profile_shape(profile, unknown, zeros).inside_null);
  EXPECT_TRUE(profile_shape(profile, zeros, std::vector{0.0, 1.0, 0.0}).inside_null);
}

}  // namespace
}  // namespace mechsweep
