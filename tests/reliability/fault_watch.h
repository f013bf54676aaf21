#pragma once

// What fault_shim.cpp does with a call: whether it is on a watched file, what is to happen to it
// (its settings), counting, and the trace.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace mechsweep::fault {

enum Kind : uint32_t { kOpen, kWrite, kSync, kRename, kTruncate, kUnlink, kClose, kAny };
constexpr std::array<std::string_view, 8> kKindNames = {"open",     "write",  "sync",  "rename",
                                                        "truncate", "unlink", "close", "any"};

enum class Action { none, error, shorten, hang, kill_before, kill_after, kill_within };

/// In front of each record of a trace; the texts and the written bytes follow. Little-endian.
struct Record {
  uint32_t magic = 0x4B414C46;
  uint32_t kind = 0;
  uint32_t phase = 1;  ///< 0: a sync begins; 1: the call has returned
  int32_t rank = 0;
  int64_t pid = 0;
  uint64_t inode = 0;
  int64_t offset = 0;  ///< of a write; the new size of a truncation; flags of an open
  int64_t result = 0;
  int64_t error = 0;
  int64_t elapsed_ns = 0;
  uint32_t path_bytes = 0;
  uint32_t other_bytes = 0;  ///< a rename's new name
  int64_t data_bytes = 0;
};

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

inline std::string text_of(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Settings {
  std::string folder = text_of("MECHSWEEP_FAULT_FOLDER");
  std::string trace = text_of("MECHSWEEP_FAULT_TRACE");
  std::string repeat = text_of("MECHSWEEP_FAULT_REPEAT");
  uint32_t kind = kAny;
  int64_t nth = std::atoll(text_of("MECHSWEEP_FAULT_NTH").c_str());
  Action action = Action::none;
  int error = 0;
  bool all = text_of("MECHSWEEP_FAULT_ALL") == "1";
  int rank = 0;
  int trace_descriptor = -1;
  pid_t process = ::getpid();

  Settings() {
    const std::string mine = text_of("OMPI_COMM_WORLD_RANK");
    const std::string wanted = text_of("MECHSWEEP_FAULT_RANK");
    rank = mine.empty() ? 0 : std::atoi(mine.c_str());
    const auto found = std::find(kKindNames.begin(), kKindNames.end(),
                                 std::string_view(text_of("MECHSWEEP_FAULT_KIND")));
    if (found != kKindNames.end()) kind = static_cast<uint32_t>(found - kKindNames.begin());
    if (wanted.empty() || wanted == mine) choose_action(text_of("MECHSWEEP_FAULT_ACTION"));
    if (trace.empty()) return;
    trace_descriptor = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, trace.c_str(),
                                                  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  }

  void choose_action(const std::string& name) {
    const std::array<std::pair<std::string_view, int>, 4> errors = {
        {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR}}};
    const std::array<std::pair<std::string_view, Action>, 5> others = {
        {{"short", Action::shorten},
         {"hang", Action::hang},
         {"kill_before", Action::kill_before},
         {"kill_after", Action::kill_after},
         {"kill_within", Action::kill_within}}};
    for (const auto& [text, number] : errors)
      if (name == text) error = number, action = Action::error;
    for (const auto& [text, value] : others)
      if (name == text) action = value;
  }
};

inline const Settings& settings() {
  static const Settings chosen;
  return chosen;
}

/// Before main, so that a later fork is known as one.
[[gnu::constructor]] inline void load_settings() {
  settings();
}

/// The process's own view of a path, without looking at the disk.
inline std::string absolute(int folder, const char* path) {
  if (path == nullptr) return "";
  if (path[0] == '/') return std::filesystem::path(path).lexically_normal();
  std::array<char, 4096> base{};
  const std::string link =
      folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/" + std::to_string(folder);
  if (::readlink(link.c_str(), base.data(), base.size() - 1) < 0) return "";
  return (std::filesystem::path(base.data()) / path).lexically_normal();
}

inline std::string path_of(int descriptor) {
  std::array<char, 4096> base{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  return ::readlink(link.c_str(), base.data(), base.size() - 1) < 0 ? "" : base.data();
}

/// A forked child that only reads for its parent (and may not write anywhere) is left alone.
inline bool is_forked() {
  return ::getpid() != settings().process;
}

inline bool is_watched(const std::string& path) {
  if (is_forked()) return false;
  const std::string& folder = settings().folder;
  return !folder.empty() && path.starts_with(folder) &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

/// SIGKILL cannot be caught, so nothing of ours runs after it: as if the node's daemon did it.
[[noreturn]] inline void kill_now() {
  const int64_t parent = ::getppid();
  const std::string proc = "/proc/" + std::to_string(parent);
  std::string name;
  std::getline(std::ifstream(proc + "/comm") >> std::ws, name);
  if (settings().all && (name == "mpirun" || name == "orterun")) {
    std::ifstream children(proc + "/task/" + std::to_string(parent) + "/children");
    for (int64_t child = 0; children >> child;)
      if (child != ::getpid()) ::kill(static_cast<pid_t>(child), SIGKILL);
    ::kill(static_cast<pid_t>(parent), SIGKILL);
  }
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

/// A coin for each call, the same in every run: Fibonacci hashing.
inline bool is_heads(int64_t count, int64_t nth) {
  return ((static_cast<uint64_t>(count + 1000 * nth) * 0x9E3779B97F4A7C15U) >> 63U) != 0;
}

/// Whether this call of its kind is the one to disturb; counts it.
inline Action draw(uint32_t kind) {
  static std::array<std::atomic<int64_t>, kKindNames.size()> counts{};
  const int64_t of_any = ++counts[kAny];
  const int64_t of_kind = ++counts[kind];
  const Settings& chosen = settings();
  if (chosen.action == Action::none || (chosen.kind != kAny && chosen.kind != kind))
    return Action::none;
  const int64_t count = chosen.kind == kAny ? of_any : of_kind;
  const bool hit = chosen.repeat == "onwards"     ? count >= chosen.nth
                   : chosen.repeat == "alternate" ? count % 2 == chosen.nth % 2
                   : chosen.repeat == "random"    ? is_heads(count, chosen.nth)
                                                  : count == chosen.nth;
  return hit ? chosen.action : Action::none;
}

inline void append_to_trace(Record record, const std::string& path, const std::string& other,
                            const void* data) {
  const int kept = errno;
  record.rank = settings().rank;
  record.pid = ::getpid();
  record.path_bytes = static_cast<uint32_t>(path.size());
  record.other_bytes = static_cast<uint32_t>(other.size());
  std::string all(reinterpret_cast<const char*>(&record), sizeof(record));
  all += path + other;
  if (record.data_bytes > 0)
    all.append(static_cast<const char*>(data), static_cast<size_t>(record.data_bytes));
  // One write, so that the records of several processes do not mix.
  ::syscall(SYS_write, settings().trace_descriptor, all.data(), all.size());
  errno = kept;
}

inline uint64_t inode_of(const std::string& path, int descriptor) {
  const int kept = errno;
  struct stat status {};
  const bool known =
      descriptor >= 0 ? ::fstat(descriptor, &status) == 0 : ::lstat(path.c_str(), &status) == 0;
  errno = kept;
  return known ? status.st_ino : 0;
}

/// What a call is, for counting, disturbing and recording it.
struct Call {
  uint32_t kind = 0;
  std::string path;
  std::string other;
  int descriptor = -1;
  int64_t offset = 0;
  const void* data = nullptr;
  size_t size = 0;
};

/// Runs a watched call, or what is put in its place. `act(size)` does it; the size is less than
/// call.size where a write is cut. After a failed close the descriptor is gone, as on Linux.
template <typename Act>
int64_t watched(const Call& call, Act act) {
  const bool traced = settings().trace_descriptor >= 0;
  const Action action = draw(call.kind);
  if (action == Action::kill_before) kill_now();
  while (action == Action::hang) ::pause();
  Record record;
  record.kind = call.kind;
  record.offset = call.offset;
  record.inode = inode_of(call.path, call.descriptor);
  if (traced && call.kind == kSync) {
    record.phase = 0;
    append_to_trace(record, call.path, call.other, nullptr);
    record.phase = 1;
  }
  const bool cut = action == Action::shorten || action == Action::kill_within;
  const auto start = std::chrono::steady_clock::now();
  int64_t result = -1;
  if (action == Action::error) {
    if (call.kind == kClose) act(call.size);
    errno = settings().error;
  } else {
    result = act(cut && call.size > 1 ? call.size / 2 : call.size);
  }
  record.elapsed_ns = (std::chrono::steady_clock::now() - start).count();
  if (action == Action::kill_after || action == Action::kill_within) kill_now();
  if (traced) {
    record.result = result;
    record.error = result < 0 ? errno : 0;
    if (call.kind == kOpen && result >= 0)
      record.inode = inode_of(call.path, static_cast<int>(result));
    if (call.kind == kWrite && result > 0) record.data_bytes = result;
    append_to_trace(record, call.path, call.other, call.data);
  }
  return result;
}

/// A call on an open file.
template <typename Act>
int64_t on_descriptor(uint32_t kind, int descriptor, int64_t offset, const void* data, size_t size,
                      Act act) {
  const int kept = errno;
  std::string path = settings().folder.empty() ? "" : path_of(descriptor);
  errno = kept;
  if (!is_watched(path)) return act(size);
  return watched({kind, std::move(path), "", descriptor, offset, data, size}, act);
}

/// A call on a name. `before` is whether the file is there: recorded in bit 62 of an open's flags.
template <typename Act>
int64_t on_path(uint32_t kind, int folder, const char* name, int64_t offset, Act act) {
  std::string path = settings().folder.empty() ? "" : absolute(folder, name);
  if (!is_watched(path)) return act(size_t{0});
  if (kind == kOpen && inode_of(path, -1) != 0) offset |= int64_t{1} << 62;
  return watched({kind, std::move(path), "", -1, offset, nullptr, 0}, act);
}

}  // namespace mechsweep::fault
