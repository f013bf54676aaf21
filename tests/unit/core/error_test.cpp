#include "core/error.h"

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

// The table of exit statuses in the user guide.
TEST(Error, EveryKindHasItsDocumentedExitStatus) {
  EXPECT_EQ(exit_status(ErrorKind::usage), 2);
  EXPECT_EQ(exit_status(ErrorKind::input), 3);
  EXPECT_EQ(exit_status(ErrorKind::resource), 4);
  EXPECT_EQ(exit_status(ErrorKind::interrupted), 5);
  EXPECT_EQ(exit_status(ErrorKind::internal), 70);
}

TEST(Error, WhatPutsContextsBeforeTheMessageOutermostFirst) {
  const Error inner(ErrorKind::input, "is damaged", {"tensor q"});
  EXPECT_STREQ(inner.what(), "tensor q: is damaged");
  const Error outer = inner.within("model.gguf");
  EXPECT_STREQ(outer.what(), "model.gguf: tensor q: is damaged");
  EXPECT_EQ(outer.kind(), ErrorKind::input);
  EXPECT_EQ(outer.message(), "is damaged");
  EXPECT_EQ(outer.context(), (std::vector<std::string>{"model.gguf", "tensor q"}));
}

TEST(Error, FailFormatsItsMessage) {
  try {
    fail(ErrorKind::resource, "needs {} GiB, has {}", 8, 4);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_STREQ(error.what(), "needs 8 GiB, has 4");
  }
}

TEST(EnsureDeathTest, AbortsWithPlaceAndReason) {
  ensure(true, "never seen");
  EXPECT_DEATH(ensure(false, "the plan lost a unit"), "error_test.cpp.*the plan lost a unit");
}

TEST(NearestName, FindsTypingErrorsOnly) {
  const std::vector<std::string> names{"operation", "positions", "heads", "kind"};
  EXPECT_EQ(nearest_name("operaton", names), "operation");
  EXPECT_EQ(nearest_name("head", names), "heads");
  EXPECT_EQ(nearest_name("kidn", names), "");  // two edits in four letters: not likely meant
  EXPECT_EQ(nearest_name("temperature", names), "");
  EXPECT_EQ(nearest_name("positions", names), "positions");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(NearestName, PrefersTheClosest) {
  EXPECT_EQ(nearest_name("resid_pst", {"resid_pre", "resid_post", "resid_mid"}), "resid_post");
}

}  // namespace
}  // namespace mechsweep
