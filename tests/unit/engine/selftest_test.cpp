#include "engine/selftest.h"

#include <set>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mechsweep {
namespace {

TEST(Selftest, PassesHereWithBothKernelSets) {
  for (const auto& [kernels, type] :
       {std::pair(KernelSet::native, "float32"), std::pair(KernelSet::onednn, "float32"),
        std::pair(KernelSet::aten, "float32"), std::pair(KernelSet::native, "bfloat16"),
        std::pair(KernelSet::onednn, "bfloat16")}) {
    std::set<std::string> names;
    for (const SelftestCheck& check : run_selftest(kernels, type, 2)) {
      EXPECT_TRUE(check.passed) << check.name << ": " << check.detail;
      EXPECT_FALSE(check.detail.empty()) << check.name;
      names.insert(check.name);
    }
    EXPECT_EQ(names,
              (std::set<std::string>{"matrix product", "attention", "executors", "batch", "order",
                                     "memory budget", "threads", "place in the panel"}));
  }
}

TEST(Selftest, AtStartComparesBothExecutors) {
  const StartupVerdict verdict = startup_selftest(KernelSet::native, "float32", 2);
  EXPECT_TRUE(verdict.bit_exact) << verdict.failure;
  EXPECT_EQ(verdict.tolerance, 0.0);
  EXPECT_GE(verdict.compared, 20);
  const Json json = verdict.to_json();
  EXPECT_EQ(json.at("bit_exact"), true);
  EXPECT_FALSE(json.contains("tolerance_nats"));
}

TEST(Selftest, AVerdictThatIsNotExactSaysHowFarOff) {
  const Json json = StartupVerdict{.bit_exact = false, .compared = 24, .tolerance = 3e-6}.to_json();
  EXPECT_EQ(json.at("tolerance_nats"), 3e-6);
}

}  // namespace
}  // namespace mechsweep
