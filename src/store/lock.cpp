#include "store/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "core/json.h"
#include "store/file_system.h"
#include "store/posix_file.h"
#include "store/results_layout.h"

namespace mechsweep {
namespace {

constexpr int64_t kLongestLock = 4096;
constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kPause = std::chrono::milliseconds(50);

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Start time of a process in clock ticks since boot, or "" when there is none. With the boot id it
/// tells a process from a later one with the same number.
std::string process_start(int64_t pid) {
  const std::string line = first_line(fmt::format("/proc/{}/stat", pid));
  const size_t name_end = line.rfind(')');  // the name may hold spaces and brackets
  if (name_end == std::string::npos) return "";
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  for (int i = 0; i < 20; ++i) fields >> field;
  return field;
}

Json describe_this_process() {
  const char* job = std::getenv("SLURM_JOB_ID");
  const int64_t pid = ::getpid();
  const NodeIdentity node = this_node();
  return {{"job", job == nullptr ? "" : job},
          {"host", node.host},
          {"pid", pid},
          {"boot_id", node.kernel},
          {"process_start", process_start(pid)},
          {"started", now_text()}};
}

Json read_owner(const FileDescriptor& file, const std::string& path) {
  const auto bytes = read_at(file, 0, kLongestLock, path);
  const Json owner = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  return owner.is_object() ? owner : Json::object();
}

template <typename T>
T field(const Json& owner, const char* name, T fallback) {
  try {
    return owner.value(name, std::move(fallback));
  } catch (const Json::exception&) {
    return T{};
  }
}

/// Whether the owner is a process of this host that still runs and is not this one.
bool is_alive_here(const Json& owner) {
  const NodeIdentity owners{field<std::string>(owner, "host", ""),
                            field<std::string>(owner, "boot_id", "")};
  if (owners != this_node()) return false;
  const auto pid = field<int64_t>(owner, "pid", 0);
  const std::string start = process_start(pid);
  return pid != ::getpid() && !start.empty() &&
         start == field<std::string>(owner, "process_start", "");
}

[[noreturn]] void refuse(const std::string& path, const Json& owner) {
  const std::string job = field<std::string>(owner, "job", "");
  fail(ErrorKind::resource,
       "{} is held by another run (host {}, process {}{}{}); wait for it, or end it, and try again",
       path, field<std::string>(owner, "host", "unknown"), field<int64_t>(owner, "pid", 0),
       job.empty() ? "" : ", job " + job,
       owner.contains("started") ? ", since " + field<std::string>(owner, "started", "") : "");
}

/// flock without waiting; false when somebody else holds it in a way that conflicts.
bool try_flock(const FileDescriptor& file, int operation, const std::string& path) {
  while (::flock(file.get(), operation | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno == EINTR) continue;
    fail(ErrorKind::resource,
         "{} cannot be locked: {}; put the results on a file system with flock", path,
         errno_text(errno));
  }
  return true;
}

/// False when the file was removed or replaced since it was opened.
bool is_still_there(const FileDescriptor& file, const std::string& path) {
  struct stat open_one {};
  struct stat named {};
  return ::fstat(file.get(), &open_one) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

FileDescriptor open_or_create(const std::string& path) {
  // O_EXCL first: it is the one step that is atomic also where flock comes late (NFS).
  const int created = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (created >= 0) return FileDescriptor(created);
  if (errno != EEXIST && errno != EINTR) {
    const int error = errno;
    fail(ErrorKind::resource, "{} cannot be made: {}; {}", path, errno_text(error), remedy(error));
  }
  return open_regular(path, O_RDWR | O_CREAT, ErrorKind::resource);
}

/// One try. Empty: somebody may hold it, or it vanished while we looked; `owner` says who.
FileDescriptor try_acquire(const std::string& path, Json& owner) {
  FileDescriptor file = open_or_create(path);
  owner = read_owner(file, path);
  if (!try_flock(file, LOCK_EX, path) || !is_still_there(file, path)) return {};
  owner = read_owner(file, path);
  if (is_alive_here(owner)) return {};
  const std::string mine = describe_this_process().dump() + "\n";
  try {
    resize_file(file, 0, path);
    write_at(file, 0, {reinterpret_cast<const uint8_t*>(mine.data()), mine.size()}, path);
    sync_file(file, path);
  } catch (const Error&) {
    ::unlink(path.c_str());  // it is ours alone now; who waits for it sees that it is gone
    throw;
  }
  // Going from exclusive to shared is not atomic: somebody may have slipped in between.
  if (!try_flock(file, LOCK_SH, path)) return {};
  owner = read_owner(file, path);
  if (owner != Json::parse(mine)) return {};
  return file;
}

}  // namespace

std::unique_ptr<FileLock> FileLock::acquire(const std::string& results_path) {
  const std::string path = companion_path(results_path, ".lock");
  const auto until = std::chrono::steady_clock::now() + kPatience;
  Json owner;
  do {
    FileDescriptor file = try_acquire(path, owner);
    if (file.is_open()) return std::unique_ptr<FileLock>(new FileLock(std::move(file)));
    std::this_thread::sleep_for(kPause);
  } while (std::chrono::steady_clock::now() < until);
  refuse(path, owner);
}

FileLock::FileLock(const std::string& results_path) {
  const std::string path = companion_path(results_path, ".lock");
  file_ = open_regular(path, O_RDONLY, ErrorKind::resource);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!try_flock(file_, LOCK_SH, path)) {
    if (std::chrono::steady_clock::now() > until) refuse(path, read_owner(file_, path));
    std::this_thread::sleep_for(kPause);
  }
}

void FileLock::release(const std::string& results_path) {
  const std::string path = companion_path(results_path, ".lock");
  remove_file(path);
}

std::string companion_path(const std::string& results_path, const std::string& suffix) {
  static const std::string kExtension = ".h5";
  const bool has_extension =
      name_of(results_path).size() > kExtension.size() && results_path.ends_with(kExtension);
  const size_t stem = results_path.size() - (has_extension ? kExtension.size() : 0);
  return results_path.substr(0, stem) + suffix;
}

}  // namespace mechsweep
