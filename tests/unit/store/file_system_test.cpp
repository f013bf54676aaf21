#include "store/file_system.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include "core/error.h"

namespace mechsweep {
namespace {

constexpr const char* kMounts = R"(22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /proc rw - proc proc rw
40 22 0:41 / /home rw,relatime shared:7 - nfs4 server:/home rw,vers=4.2,addr=10.0.0.1
41 22 0:42 / /scratch rw shared:8 master:2 - lustre 10.0.0.2@tcp:/fs rw,flock
42 41 0:43 / /scratch/local rw - xfs /dev/nvme0n1 rw
43 22 0:44 / /with\040blank rw - fuse.sshfs host: rw
44 22 0:45 / /gpfs rw - gpfs gpfs0 rw
45 22 0:46 / /data rw - beegfs beegfs_nodev rw
46 45 0:47 / /data rw - tmpfs tmpfs rw
47 22 0:48 /@home /sub rw - btrfs /dev/vdb rw
48 22 0:49 / /hidden/under rw - cifs //server/x rw
49 22 0:50 / /hidden rw - 9p host rw
50 22 0:51 / /short
)";

TEST(FileSystem, TypeOfTheMountThatLeadsFurthest) {
  EXPECT_EQ(mounted_type(kMounts, "/work/a", "254:0"), "ext4");
  EXPECT_EQ(mounted_type(kMounts, "/home/me/out", "0:41"), "nfs4");
  EXPECT_EQ(mounted_type(kMounts, "/homely", "254:0"), "ext4");
  EXPECT_EQ(mounted_type(kMounts, "/scratch/x", "0:42"), "lustre");
  EXPECT_EQ(mounted_type(kMounts, "/scratch/local/x", "0:43"), "xfs");
  EXPECT_EQ(mounted_type(kMounts, "/scratch/local", "0:43"), "xfs");
  EXPECT_EQ(mounted_type(kMounts, "/with blank/x", "0:44"), "fuse.sshfs");
  EXPECT_EQ(mounted_type(kMounts, "/gpfs", "0:45"), "gpfs");
}

TEST(FileSystem, CoveredMountsDoNotCount) {
  EXPECT_EQ(mounted_type(kMounts, "/data/x", "0:47"), "tmpfs");
  EXPECT_EQ(mounted_type(kMounts, "/hidden/under/x", "0:50"), "9p");
  // Subvolumes of btrfs have devices that mountinfo does not name.
  EXPECT_EQ(mounted_type(kMounts, "/sub/x", "0:99"), "btrfs");
  EXPECT_EQ(mounted_type("", "/x", "1:1"), "");
  EXPECT_EQ(mounted_type("nonsense\n\n - -\n", "/x", "1:1"), "");
}

TEST(FileSystem, OfThisMachine) {
  EXPECT_EQ(file_system_of("/proc"), "proc");
  EXPECT_NE(file_system_of("/tmp"), "unknown");
  EXPECT_THROW(file_system_of("/no/such/folder"), Error);
  EXPECT_EQ(type_of_magic(0xEF53), "ext4");
  EXPECT_EQ(type_of_magic(0x6969), "nfs");
  EXPECT_EQ(type_of_magic(1), "");
  EXPECT_EQ(this_node(), this_node());
  EXPECT_FALSE(this_node().kernel.empty());
}

StoreDecision decide(StoreChoice choice, const std::vector<FolderView>& views) {
  return decide_store(choice, views);
}

TEST(StoreDecision, OneMachineSharesOnEveryFileSystem) {
  for (const char* name : {"ext4", "nfs", "fuse.sshfs", "unknown"}) {
    const auto found = decide(StoreChoice::automatic, {{name, "a"}, {name, "a"}});
    EXPECT_EQ(found.mode, StoreMode::shared) << name;
    EXPECT_EQ(found.nodes, 1);
    EXPECT_EQ(found.reason, "");
    EXPECT_EQ(decide(StoreChoice::shared, {{name, "a"}}).mode, StoreMode::shared);
  }
}

TEST(StoreDecision, SeveralMachinesShareWhereTheFileSystemIsCoherent) {
  for (const char* name : {"lustre", "gpfs"}) {
    EXPECT_EQ(decide(StoreChoice::automatic, {{name, "a"}, {name, "b"}}).mode, StoreMode::shared);
    EXPECT_EQ(decide(StoreChoice::shared, {{name, "a"}, {name, "b"}}).mode, StoreMode::shared);
  }
  for (const char* name : {"nfs", "nfs4", "beegfs", "fuse", "fuse.sshfs", "cifs", "9p", "overlay",
                           "ext4", "unknown"}) {
    const std::vector<FolderView> views{{name, "a"}, {name, "b"}, {name, "b"}};
    const auto found = decide(StoreChoice::automatic, views);
    EXPECT_EQ(found.mode, StoreMode::log) << name;
    EXPECT_EQ(found.nodes, 2);
    EXPECT_NE(found.reason.find(name), std::string::npos);
    EXPECT_THROW(decide(StoreChoice::shared, views), Error);
    EXPECT_EQ(decide(StoreChoice::force_shared, views).mode, StoreMode::shared);
    EXPECT_NE(decide(StoreChoice::force_shared, views).reason, "");
  }
}

TEST(StoreDecision, TheWorstViewCounts) {
  const auto found = decide(StoreChoice::automatic, {{"lustre", "a"}, {"nfs", "b"}, {"gpfs", "c"}});
  EXPECT_EQ(found.mode, StoreMode::log);
  EXPECT_EQ(found.file_system, "nfs");
  EXPECT_EQ(found.nodes, 3);
  EXPECT_EQ(decide(StoreChoice::log, {{"ext4", "a"}}).mode, StoreMode::log);
}

TEST(StoreDecision, NamesOfChoices) {
  EXPECT_EQ(store_choice_names(),
            (std::vector<std::string>{"auto", "shared", "force_shared", "log"}));
  for (const std::string& name : store_choice_names()) EXPECT_NO_THROW(parse_store_choice(name));
  EXPECT_THROW(parse_store_choice("both"), Error);
}

}  // namespace
}  // namespace mechsweep
