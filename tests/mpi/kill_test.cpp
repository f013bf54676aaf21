#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

TEST(MpiKill, ResultsSurviveTheDeathOfOneRank) {
  const FileLayout layout = sample::layout();
  int64_t done_in_all = 0;
  for (int round = 0; round < 5; ++round) {
    const sample::TemporaryFolder folder;
    const std::string path = folder.file("a.h5");
    const std::string command =
        fmt::format("{} --oversubscribe -n 2 {} {} {} {} > {} 2>&1", MECHSWEEP_MPIEXEC,
                    MECHSWEEP_VICTIM, path, round % 2, 3000 + 7001 * round, folder.file("log"));
    EXPECT_NE(std::system(command.c_str()), 0);
    const Verification found = verify_file(path);
    EXPECT_TRUE(found.damage.empty()) << found.damage.at(0);
    EXPECT_EQ(found.done + found.left, 7);
    done_in_all += found.done;
    const ResultsReader reader(path);
    const auto journal = reader.journal();
    for (const int unit : sample::all_units(layout)) {
      if (journal[static_cast<size_t>(unit)].state == UnitState::done) {
        EXPECT_EQ(reader.read_payload(unit), sample::payload(layout, unit));
      }
    }
  }
  EXPECT_GT(done_in_all, 0);
}

TEST(LoneFailure, EndsAllRanksInsteadOfHanging) {
  for (int rank = 0; rank < 2; ++rank) {
    const sample::TemporaryFolder folder;
    const std::string command =
        fmt::format("timeout 30 {} --oversubscribe -n 2 {} {} > {} 2>&1", MECHSWEEP_MPIEXEC,
                    MECHSWEEP_LONE_FAILURE, rank, folder.file("log"));
    const int status = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 70);
  }
}

}  // namespace
}  // namespace mechsweep
