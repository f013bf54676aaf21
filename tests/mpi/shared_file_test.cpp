#include "mpi/shared_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "mpi_main.h"
#include "store/metadata_copy.h"
#include "unit/store/sample_layout.h"

namespace mechsweep {
namespace {

/// A folder that rank 0 makes and removes and all ranks use.
class SharedFolder {
 public:
  SharedFolder() {
    if (test_world().rank() == 0) mine_ = std::make_unique<sample::TemporaryFolder>();
    path_ = test_world().broadcast(mine_ ? mine_->path() : "", 0);
  }
  ~SharedFolder() { test_world().barrier(); }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] bool is_empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::unique_ptr<sample::TemporaryFolder> mine_;
  std::string path_;
};

TEST(SharedFile, WrittenByAllRanksIsByteForByteTheOneWrittenAlone) {
  World& world = test_world();
  const SharedFolder folder;
  const FileLayout layout = sample::layout();
  const std::string path = folder.file("all.h5");
  create_results_file(world, path, layout);
  if (world.rank() == 0) {
    const Verification fresh = verify_file(path);
    EXPECT_EQ(fresh.left, 7);
    EXPECT_TRUE(fresh.damage.empty());
  }
  world.barrier();
  {
    ResultsWriter writer(path, layout);
    for (const int unit : sample::all_units(layout)) {
      if (unit % world.size() == world.rank()) {
        writer.write_unit(unit, sample::result(layout, unit), sample::entry());
      }
    }
    writer.sync();
    world.barrier();
    // Before closing: what a kill at this moment would leave.
    EXPECT_TRUE(check_metadata(path).damage.empty());
    world.barrier();
    writer.close();
  }
  world.barrier();
  if (world.rank() != 0) return;
  const std::string alone = folder.file("alone.h5");
  sample::write_file(alone, layout, sample::all_units(layout));
  EXPECT_EQ(sample::read_all(path), sample::read_all(alone));
  const Verification found = verify_file(path);
  EXPECT_EQ(found.digest, sample::digest(layout, sample::all_units(layout)));
  EXPECT_EQ(found.done, 7);
  EXPECT_TRUE(found.damage.empty());
}

TEST(SharedFile, AFolderThatIsMissingIsOneErrorOnAllRanks) {
  const SharedFolder folder;
  const std::string path = folder.file("no/x.h5");
  try {
    create_results_file(test_world(), path, sample::layout());
    ADD_FAILURE() << "made a file in a missing folder";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_THAT(error.what(), testing::HasSubstr(path));
  }
}

TEST(SharedFile, AFileThatIsMissingIsAnErrorOnAllRanksAndNoHang) {
  const SharedFolder folder;
  EXPECT_THROW(test_world().together([&] { ResultsWriter(folder.file("x.h5"), sample::layout()); }),
               Error);
}

TEST(SharedFile, ADiskThatIsFullForOneRankEndsCreationForAll) {
  World& world = test_world();
  const SharedFolder folder;
  // The last rank may write only small files, as if its quota were used up.
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  if (world.rank() == world.size() - 1) {
    const rlimit small{1 << 20, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  try {
    create_results_file(world, folder.file("x.h5"), sample::layout());
    ADD_FAILURE() << "made a file on a full disk";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  world.barrier();
  EXPECT_TRUE(folder.is_empty());
}

}  // namespace
}  // namespace mechsweep
