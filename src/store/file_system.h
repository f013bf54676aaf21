#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mechsweep {

/// Which machine a process runs on. Containers and made-up nodes of one machine have one kernel,
/// hence one page cache: what one process writes there, every other one sees.
struct NodeIdentity {
  std::string host;    ///< gethostname
  std::string kernel;  ///< boot id; the host's name where it cannot be read
  bool operator==(const NodeIdentity&) const = default;
};
NodeIdentity this_node();

/// The kind of file system that a folder is on, as the kernel names it: "ext4", "nfs4", "lustre",
/// "fuse.sshfs", ...; "unknown" when it cannot be told. Throws Error{resource} when there is no
/// such folder.
std::string file_system_of(const std::string& folder);
/// The same from the text of /proc/self/mountinfo, for a path without links on device
/// MAJOR:MINOR: the mount of that device, or if none is (btrfs), any mount, that leads furthest
/// down the path. "" when no line fits.
std::string mounted_type(std::string_view mountinfo, const std::string& path,
                         const std::string& device);
/// The name that belongs to statfs's f_type, or "".
std::string type_of_magic(uint64_t magic);

/// How units reach the results file.
enum class StoreMode {
  shared,  ///< every rank writes its rows into the file
  log      ///< every rank appends to a segment of its node; rank 0 puts them into the file
};
std::string_view store_mode_name(StoreMode mode);

/// `execution.store`.
enum class StoreChoice {
  automatic,     ///< shared where it is known to be safe, else log
  shared,        ///< an Error where it is not known to be safe
  force_shared,  ///< shared whatever the file system
  log
};
std::vector<std::string> store_choice_names();
/// Of a name that is one of store_choice_names().
StoreChoice parse_store_choice(std::string_view name);

/// One rank's view of the folder of the results.
struct FolderView {
  std::string file_system;
  std::string kernel;  ///< NodeIdentity::kernel
};
/// How a launch stores its units, and why in a sentence ("" where there is nothing to say).
struct StoreDecision {
  StoreMode mode = StoreMode::shared;
  std::string file_system;  ///< the one that decided
  int nodes = 1;            ///< machines with a kernel of their own
  std::string reason;
};
/// Whether ranks of several machines may write one file of this kind of file system at once. Known
/// only of those that promise POSIX semantics (lustre, gpfs); caches of NFS clients, for one, write
/// whole pages and so old bytes over a neighbour's new ones.
bool is_coherent_across_nodes(std::string_view file_system);
/// Decides from all ranks' views. On one machine shared mode is always safe. Throws Error{usage}
/// when `shared` was asked for where it is not known to be.
StoreDecision decide_store(StoreChoice choice, const std::vector<FolderView>& views);

}  // namespace mechsweep
