#include "engine/selftest.h"

#include <set>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "model/linear.h"

namespace mechsweep {
namespace {

/// The libraries have float16 on some processors only; the rest is expected of all.
bool multiplies(KernelSet kernels, const std::string& dtype) {
  if (kernels == KernelSet::native || dtype != "float16") return true;
  try {
    require_kernels(kernels, parse_compute_type(dtype));
  } catch (const Error&) {
    return false;
  }
  return true;
}

TEST(Selftest, PassesHereWithEveryKernelSet) {
  for (const auto& [kernels, type] :
       {std::pair(KernelSet::native, "float32"), std::pair(KernelSet::onednn, "float32"),
        std::pair(KernelSet::aten, "float32"), std::pair(KernelSet::native, "bfloat16"),
        std::pair(KernelSet::onednn, "bfloat16"), std::pair(KernelSet::native, "float16"),
        std::pair(KernelSet::onednn, "float16"), std::pair(KernelSet::aten, "float16")}) {
    if (!multiplies(kernels, type)) continue;
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
  for (const char* dtype : {"float32", "float16"}) {
    const StartupVerdict verdict = startup_selftest(KernelSet::native, dtype, 2);
    EXPECT_TRUE(verdict.bit_exact) << verdict.failure;
    EXPECT_EQ(verdict.tolerance, 0.0);
    EXPECT_GE(verdict.compared, 20);
    const Json json = verdict.to_json();
    EXPECT_EQ(json.at("bit_exact"), true);
    EXPECT_FALSE(json.contains("tolerance_nats"));
  }
}

TEST(Selftest, AVerdictThatIsNotExactSaysHowFarOff) {
  const Json json = StartupVerdict{.bit_exact = false, .compared = 24, .tolerance = 3e-6}.to_json();
  EXPECT_EQ(json.at("tolerance_nats"), 3e-6);
}

}  // namespace
}  // namespace mechsweep
