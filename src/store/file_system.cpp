#include "store/file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "store/posix_file.h"

namespace mechsweep {
namespace {

// linux/magic.h and the file systems' own headers.
constexpr std::array<std::pair<uint64_t, std::string_view>, 22> kMagics{{
    {0xEF53, "ext4"},      {0x58465342, "xfs"},     {0x9123683E, "btrfs"}, {0x01021994, "tmpfs"},
    {0x858458F6, "ramfs"}, {0x794C7630, "overlay"}, {0x2FC12FC1, "zfs"},   {0xF2F52010, "f2fs"},
    {0x6969, "nfs"},       {0x0BD00BD0, "lustre"},  {0x47504653, "gpfs"},  {0x19830326, "beegfs"},
    {0x65735546, "fuse"},  {0xFF534D42, "cifs"},    {0xFE534D42, "smb3"},  {0x517B, "smbfs"},
    {0x01021997, "9p"},    {0x00C36400, "ceph"},    {0xAAD7AAEA, "panfs"}, {0x7461636F, "ocfs2"},
    {0x01161970, "gfs2"},  {0x5346414F, "afs"},
}};

constexpr std::array<std::pair<std::string_view, StoreChoice>, 4> kChoices{{
    {"auto", StoreChoice::automatic},
    {"shared", StoreChoice::shared},
    {"force_shared", StoreChoice::force_shared},
    {"log", StoreChoice::log},
}};

/// mountinfo writes blanks and backslashes as three octal digits.
std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_octal = [&](size_t at) {
      return at < text.size() && text[at] >= '0' && text[at] <= '7';
    };
    if (text[i] == '\\' && is_octal(i + 1) && is_octal(i + 2) && is_octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

struct Mount {
  std::string device;
  std::string place;
  std::string type;
};

/// A line of mountinfo: ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [TAG...] - TYPE SOURCE OPTIONS.
Mount parse_mount(const std::string& line) {
  std::istringstream fields(line);
  Mount mount;
  std::string skipped;
  fields >> skipped >> skipped >> mount.device >> skipped >> mount.place;
  while (fields >> skipped && skipped != "-") continue;
  fields >> mount.type;
  mount.place = unescape(mount.place);
  mount.type = unescape(mount.type);
  return mount;
}

bool leads_to(const std::string& place, const std::string& path) {
  if (place == "/" || place == path) return true;
  return path.starts_with(place) && path[place.size()] == '/';
}

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

NodeIdentity this_node() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0) name[0] = '\0';
  NodeIdentity node{.host = name[0] == '\0' ? "unknown" : name};
  std::ifstream("/proc/sys/kernel/random/boot_id") >> node.kernel;
  if (node.kernel.empty()) node.kernel = node.host;
  return node;
}

std::string mounted_type(std::string_view mountinfo, const std::string& path,
                         const std::string& device) {
  Mount best;
  bool best_is_on_device = false;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    Mount mount = parse_mount(line);
    if (mount.type.empty() || !leads_to(mount.place, path)) continue;
    const bool is_on_device = mount.device == device;
    if (best_is_on_device && !is_on_device) continue;
    // Of two mounts on one place the later one covers the earlier one.
    if (is_on_device == best_is_on_device && mount.place.size() < best.place.size()) continue;
    best = std::move(mount);
    best_is_on_device = is_on_device;
  }
  return best.type;
}

std::string type_of_magic(uint64_t magic) {
  for (const auto& [number, name] : kMagics) {
    if (number == magic) return std::string(name);
  }
  return "";
}

std::string file_system_of(const std::string& folder) {
  std::error_code error;
  const std::string path = std::filesystem::canonical(folder, error).string();
  struct statfs facts {};
  struct stat status {};
  if (error || ::statfs(path.c_str(), &facts) != 0 || ::stat(path.c_str(), &status) != 0) {
    fail(ErrorKind::resource, "{} cannot be examined: {}; make the folder first", folder,
         error ? error.message() : errno_text(errno));
  }
  const std::string device = fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev));
  std::string type = mounted_type(read_text("/proc/self/mountinfo"), path, device);
  if (type.empty()) type = type_of_magic(static_cast<uint64_t>(facts.f_type) & 0xFFFFFFFFU);
  return type.empty() ? "unknown" : type;
}

std::string_view store_mode_name(StoreMode mode) {
  return mode == StoreMode::shared ? "shared" : "log";
}

std::vector<std::string> store_choice_names() {
  std::vector<std::string> names;
  names.reserve(std::size(kChoices));
  for (const auto& [name, choice] : kChoices) names.emplace_back(name);
  return names;
}

StoreChoice parse_store_choice(std::string_view name) {
  for (const auto& [known, choice] : kChoices) {
    if (known == name) return choice;
  }
  fail(ErrorKind::usage, "execution.store has no value '{}'", name);
}

bool is_coherent_across_nodes(std::string_view file_system) {
  return file_system == "lustre" || file_system == "gpfs";
}

StoreDecision decide_store(StoreChoice choice, const std::vector<FolderView>& views) {
  std::set<std::string> kernels;
  StoreDecision decision;
  bool is_coherent = true;
  for (const FolderView& view : views) {
    kernels.insert(view.kernel);
    // A node that serves the file system itself sees another kind than its clients: the worst
    // counts.
    if (!decision.file_system.empty() &&
        (!is_coherent || is_coherent_across_nodes(view.file_system)))
      continue;
    decision.file_system = view.file_system;
    is_coherent = is_coherent_across_nodes(view.file_system);
  }
  decision.nodes = static_cast<int>(kernels.size());
  const bool is_safe = decision.nodes <= 1 || is_coherent;
  const std::string why = fmt::format(
      "{} nodes would write one file on {}, whose caches may "
      "overwrite a neighbour's rows",
      decision.nodes, decision.file_system);
  switch (choice) {
    case StoreChoice::log:
      decision.mode = StoreMode::log;
      break;
    case StoreChoice::force_shared:
      if (!is_safe) decision.reason = why + "; execution.store: force_shared allows it";
      break;
    case StoreChoice::automatic:
      if (is_safe) break;
      decision.mode = StoreMode::log;
      decision.reason = why + ", so every node appends to a log of its own";
      break;
    case StoreChoice::shared:
      if (is_safe) break;
      fail(ErrorKind::usage,
           "execution.store is shared, but {}; say auto or log, or force_shared if `mechsweep "
           "selftest --io` on the same nodes has shown that it works",
           why);
  }
  return decision;
}

}  // namespace mechsweep
