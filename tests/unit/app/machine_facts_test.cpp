#include "app/machine_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mechsweep {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

AttemptRecord launch(int number, const Json& machine) {
  return {{{"attempt", number}, {"machine", machine}}};
}

TEST(MachineFacts, LibrariesThatChooseByCacheSizesDependOnTheProcessor) {
  EXPECT_FALSE(machine_facts("native").contains("cpu"));
  EXPECT_EQ(machine_facts("onednn").at("cpu"), cpu_model());
  EXPECT_FALSE(cpu_model().empty());
}

TEST(MachineFacts, DifferencesNameBothSidesAndTheLaunch) {
  const std::vector<AttemptRecord> attempts{launch(1, {{"isa", "a"}, {"compiler", "12"}}),
                                            launch(2, {{"isa", "b"}, {"compiler", "12"}})};
  EXPECT_THAT(machine_differences(attempts, {1, 2}, {{"isa", "b"}, {"compiler", "13"}}),
              ElementsAre("compiler: 12 in launch 1, 13 now", "isa: a in launch 1, b now"));
  EXPECT_THAT(machine_differences(attempts, {2}, {{"isa", "b"}, {"compiler", "12"}}), IsEmpty());
  EXPECT_THAT(machine_differences(attempts, {1}, {{"isa", "a"}, {"compiler", "12"}}), IsEmpty());
}

TEST(MachineFacts, LaunchesThatLeftNothingOrSayNothingDoNotMatter) {
  const std::vector<AttemptRecord> attempts{launch(1, {{"isa", "a"}}),
                                            {{{"attempt", 2}}},
                                            {{{"machine", {{"isa", "a"}}}}},
                                            {{{"attempt", "x"}, {"machine", 3}}}};
  EXPECT_THAT(machine_differences(attempts, {2, 3}, {{"isa", "b"}}), IsEmpty());
  EXPECT_THAT(machine_differences(attempts, {}, {{"isa", "b"}}), IsEmpty());
  EXPECT_THAT(machine_differences(attempts, {1}, {{"isa", "b"}, {"new", "c"}}),
              ElementsAre("isa: a in launch 1, b now"));
}

}  // namespace
}  // namespace mechsweep
