#include "mpi_main.h"

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

std::unique_ptr<World>& world_slot() {
  static std::unique_ptr<World> world;
  return world;
}

}  // namespace

World& test_world() {
  return *world_slot();
}

}  // namespace mechsweep

/// Runs the same tests on all ranks; a rank whose test fails makes mpirun fail.
int main(int argc, char** argv) {
  mechsweep::world_slot() = mechsweep::start_world(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (mechsweep::test_world().rank() != 0) {
    // Other ranks only speak when something is wrong.
    delete listeners.Release(listeners.default_result_printer());
    class Failures : public testing::EmptyTestEventListener {
      void OnTestPartResult(const testing::TestPartResult& part) override {
        if (part.failed()) std::fprintf(stderr, "rank failed: %s\n", part.message());
      }
    };
    listeners.Append(new Failures);
  }
  const int status = RUN_ALL_TESTS();
  mechsweep::world_slot().reset();
  return status;
}
