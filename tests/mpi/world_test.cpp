#include "mpi/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstdlib>
#include <map>
#include <set>

#include "mpi/launch.h"
#include "mpi_main.h"

namespace mechsweep {
namespace {

TEST(World, HasAsManyRanksAsWereStarted) {
  World& world = test_world();
  EXPECT_EQ(std::to_string(world.size()), std::getenv("OMPI_COMM_WORLD_SIZE"));
  EXPECT_EQ(std::to_string(world.rank()), std::getenv("OMPI_COMM_WORLD_RANK"));
  EXPECT_EQ(std::to_string(world.local_rank()), std::getenv("OMPI_COMM_WORLD_LOCAL_RANK"));
  EXPECT_EQ(std::to_string(world.local_size()), std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE"));
  EXPECT_EQ(world.describe().at("ranks"), world.size());
  const std::string library = world.describe().at("mpi");
  ASSERT_FALSE(library.empty());
  for (const char c : library) EXPECT_NE(c, '\0');
  EXPECT_TRUE(std::isgraph(static_cast<unsigned char>(library.back()))) << library;
}

TEST(World, BroadcastAndGatherMoveTextsOfAnyLength) {
  World& world = test_world();
  for (int root = 0; root < world.size(); ++root) {
    const std::string text(static_cast<size_t>(root) * 1000, static_cast<char>('a' + root));
    EXPECT_EQ(world.broadcast(world.rank() == root ? text : "ignored", root), text);
  }
  const auto all = world.gather(std::string(static_cast<size_t>(world.rank()), 'x'));
  ASSERT_EQ(std::ssize(all), world.rank() == 0 ? world.size() : 0);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], std::string(i, 'x'));
  world.barrier();
}

TEST(World, MessagesFromEveryRankToEveryRankArriveInOrder) {
  World& world = test_world();
  constexpr int kCount = 200;
  for (int i = 0; i < kCount; ++i) {
    for (int to = 0; to < world.size(); ++to) world.send(to, {i, world.rank() * 1000 + i, to, 0.5});
  }
  std::map<int, int> received;
  for (int total = 0; total < kCount * world.size();) {
    const auto arrived = world.poll();
    if (!arrived) continue;
    const auto& [from, message] = *arrived;
    EXPECT_EQ(message.kind, received[from]++);
    EXPECT_EQ(message.unit, from * 1000 + message.kind);
    EXPECT_EQ(message.aux, world.rank());
    EXPECT_EQ(message.seconds, 0.5);
    ++total;
  }
  EXPECT_EQ(std::ssize(received), world.size());
  world.barrier();
  EXPECT_FALSE(world.poll().has_value());
}

/// "KIND what()" of the Error, or "no error".
std::string error_of(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    return fmt::format("{} {}", exit_status(error.kind()), error.what());
  }
  return "no error";
}

TEST(World, TogetherThrowsTheLowestFailingRanksErrorEverywhere) {
  World& world = test_world();
  for (int failing = 0; failing < world.size(); ++failing) {
    const std::string text = error_of([&] {
      world.together([&] {
        if (world.rank() >= failing) {
          throw Error(ErrorKind::input, fmt::format("rank {}", world.rank()), {"a.h5", "unit 1"});
        }
      });
    });
    EXPECT_EQ(text, fmt::format("3 a.h5: unit 1: rank {}", failing));
    EXPECT_TRUE(world.leaves_together());
  }
  EXPECT_EQ(error_of([&] { world.together([] { throw std::runtime_error("other"); }); }),
            "70 other");
  EXPECT_THAT(error_of([&] { world.together([] { throw std::bad_alloc(); }); }),
              testing::StartsWith("4 memory"));
  EXPECT_EQ(error_of([&] { world.together([] {}); }), "no error");
  EXPECT_FALSE(world.leaves_together());
}

TEST(World, OnRootRunsOnceAndItsErrorReachesAll) {
  World& world = test_world();
  int runs = 0;
  world.on_root([&] { ++runs; });
  EXPECT_EQ(runs, world.rank() == 0 ? 1 : 0);
  const std::string text =
      error_of([&] { world.on_root([] { fail(ErrorKind::usage, "only rank 0 knows"); }); });
  EXPECT_EQ(text, "2 only rank 0 knows");
}

TEST(World, SplitMakesGroupsInRankOrder) {
  World& world = test_world();
  const auto group = world.split(world.rank() % 2);
  EXPECT_EQ(group->size(), (world.size() + 1 - world.rank() % 2) / 2);
  EXPECT_EQ(group->rank(), world.rank() / 2);
}

TEST(Launch, IsAloneUnlessALauncherSaysOtherwise) {
  using Variables = std::map<std::string, const char*>;
  const auto detect = [](const Variables& variables) {
    return detect_launch([&](const char* name) {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second;
    });
  };
  EXPECT_FALSE(detect({}).has_mpi);
  EXPECT_FALSE(detect({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}}).has_mpi);
  EXPECT_FALSE(detect({{"SLURM_STEP_NUM_TASKS", "1"}}).has_mpi);
  EXPECT_TRUE(detect({{"OMPI_COMM_WORLD_SIZE", "4"}}).has_mpi);
  EXPECT_TRUE(detect({{"PMIX_RANK", "0"}}).has_mpi);
  const Launch by_srun = detect({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "4"}});
  EXPECT_TRUE(by_srun.has_mpi);
  EXPECT_EQ(error_of([&] { check_rank_count(by_srun, 4); }), "no error");
  EXPECT_THAT(error_of([&] { check_rank_count(by_srun, 1); }), testing::StartsWith("2 Slurm"));
  const Launch by_mpirun =
      detect({{"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(error_of([&] { check_rank_count(by_mpirun, 4); }), "no error");
  EXPECT_THAT(error_of([&] {
                detect({{"SLURM_STEP_NUM_TASKS", "4"}});
              }),
              testing::StartsWith("2 srun started 4 tasks without PMIx"));
}

}  // namespace
}  // namespace mechsweep
