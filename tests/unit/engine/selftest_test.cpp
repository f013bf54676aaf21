#include "engine/selftest.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mechsweep {
namespace {

TEST(Selftest, PassesHereWithBothKernelSets) {
  for (const KernelSet kernels : {KernelSet::onednn, KernelSet::aten}) {
    std::set<std::string> names;
    for (const SelftestCheck& check : run_selftest(kernels, 2)) {
      EXPECT_TRUE(check.passed) << check.name << ": " << check.detail;
      EXPECT_FALSE(check.detail.empty()) << check.name;
      names.insert(check.name);
    }
    EXPECT_EQ(names, (std::set<std::string>{"matrix product", "attention", "batch", "order",
                                            "memory budget", "threads", "place in the panel"}));
  }
}

}  // namespace
}  // namespace mechsweep
