#include "app/bit_exactness.h"

#include <gtest/gtest.h>

#include "core/json.h"

namespace mechsweep {
namespace {

/// A launch whose record has this self-test.
AttemptRecord launch(const Json& selftest) {
  return {{{"attempt", 1}, {"selftest", selftest}}};
}

const Json kExact = {{"float32", {{"bit_exact", true}, {"interventions_compared", 24}}}};

TEST(BitExactness, IsExactWhereEveryDtypeOfEveryLaunchIs) {
  Json both = kExact;
  both["bfloat16"] = {{"bit_exact", true}};
  const auto found = bit_exactness({launch(kExact), launch(both)});
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->exact);
  EXPECT_EQ(found->text(), "yes");
}

TEST(BitExactness, OneTestThatFoundADifferenceDecidesAndTheLargestIsTold) {
  const auto inexact = [](double nats) {
    return Json{{"bit_exact", false}, {"tolerance_nats", nats}};
  };
  Json worse = inexact(3e-6);
  worse["rank"] = 2;
  const auto found =
      bit_exactness({launch({{"bfloat16", worse}, {"float32", {{"bit_exact", true}}}}),
                     launch({{"float32", inexact(2e-7)}}), launch(kExact)});
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->exact);
  EXPECT_EQ(found->tolerance_nats, 3e-6);
  EXPECT_EQ(found->text(), "NO: losses differ by up to 3e-06 nats (bfloat16, rank 2)");
}

TEST(BitExactness, ATestThatCouldNotCompareIsTheWorst) {
  const Json failed = {{"bit_exact", false}, {"tolerance_nats", 0.0}, {"failure", "no onednn"}};
  const Json inexact = {{"bit_exact", false}, {"tolerance_nats", 0.5}};
  for (const auto& launches :
       {std::vector{launch({{"float32", failed}}), launch({{"b", inexact}})},
        std::vector{launch({{"b", inexact}}), launch({{"float32", failed}})}}) {
    const auto found = bit_exactness(launches);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->text(), "NO: the self-test failed (float32): no onednn");
    EXPECT_EQ(found->tolerance_nats, 0.5);
  }
}

TEST(BitExactness, LaunchesWithoutATestAreTold) {
  const auto found = bit_exactness({launch(kExact), {{{"left_out", {"selftest"}}}}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->text(), "yes in 1 of 2 launches; the others have no self-test on record");
}

TEST(BitExactness, IsNotKnownWithoutATest) {
  EXPECT_FALSE(bit_exactness({}));
  EXPECT_FALSE(bit_exactness({{{{"attempt", 1}}}}));
  for (const Json& damaged : {Json(), Json(true), Json{1, 2}, Json{{"float32", 1}},
                              Json{{"float32", {{"bit_exact", "false"}}}}, Json::object()})
    EXPECT_FALSE(bit_exactness({launch(damaged)})) << damaged;
}

}  // namespace
}  // namespace mechsweep
