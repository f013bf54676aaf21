#include "app/certificates.h"

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

AttemptRecord launch(const Json& certificates) {
  return {{{"attempt", 1}, {"certificates", certificates}}};
}

Json certificate(const char* outcome, const char* reference = "none") {
  return {{"outcome", outcome}, {"reference", reference}, {"seconds", 0.1}};
}

TEST(ModelCertificates, SayEachModelOnceAndWhetherItHasAReference) {
  const auto found = model_certificates(
      {launch({{"b", certificate("passed")}, {"a", certificate("passed", "r.json (t 5)")}}),
       launch({{"b", certificate("passed")}})});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].model, "a");
  EXPECT_EQ(found[0].text(), "passed, reference r.json (t 5)");
  EXPECT_EQ(found[1].model, "b");
  EXPECT_EQ(found[1].text(), "passed, no reference");
}

TEST(ModelCertificates, AReferenceThatWasNotComparedIsNone) {
  Json one = certificate("passed");
  one["reference_note"] = "r.json was not compared: why";
  const auto found = model_certificates({launch({{"a", one}})});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].text(), "passed, no reference (r.json was not compared: why)");
}

TEST(ModelCertificates, OneThatFailedDecides) {
  Json failed = certificate("failed");
  failed["why"] = "check 'batch': 3 results differ";
  const auto found =
      model_certificates({launch({{"a", certificate("passed")}}), launch({{"a", failed}}),
                          launch({{"a", certificate("passed")}})});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_FALSE(found[0].passed);
  EXPECT_EQ(found[0].text(), "FAILED: check 'batch': 3 results differ");
}

TEST(ModelCertificates, FactsThatNoRunWritesCountAsNone) {
  EXPECT_TRUE(model_certificates({}).empty());
  EXPECT_TRUE(model_certificates({{{{"attempt", 1}}},
                                  launch(nullptr),
                                  launch("passed"),
                                  launch({{"a", 5}}),
                                  launch({{"a", {{"outcome", true}}}})})
                  .empty());
  EXPECT_TRUE(model_certificates({AttemptRecord{Json::array({1})}}).empty());
}

}  // namespace
}  // namespace mechsweep
