#include <cstdio>
#include <filesystem>
#include <functional>

#include <spdlog/spdlog.h>

#include "app/commands.h"
#include "app/io_probe.h"
#include "app/with_world.h"
#include "core/error.h"
#include "store/file_system.h"

namespace mechsweep {

namespace {

/// A folder that all ranks see, gone at the end with everything in it.
class SharedFolder {
 public:
  SharedFolder(World& world, const std::string& parent) : world_(world) {
    world.on_root([&] {
      path_ = parent + "/.mechsweep-selftest-XXXXXX";
      if (::mkdtemp(path_.data()) == nullptr)
        fail(ErrorKind::resource, "no folder can be made in {}; give one that can be written",
             parent);
    });
    path_ = world.broadcast(path_, 0);
  }
  ~SharedFolder() {
    std::error_code ignored;
    if (world_.rank() == 0) std::filesystem::remove_all(path_, ignored);
  }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  World& world_;
  std::string path_;
};

void print(const std::string& what, const ProbeResult& result) {
  std::printf("%-6s %s%s%s\n", result.passed() ? "ok" : "FAILED", what.c_str(),
              result.text().empty() ? "" : ": ", result.text().c_str());
}

int verdict(const ProbeResult& shared, const ProbeResult& log, const ProbeResult& lock,
            const StoreDecision& usual) {
  if (!lock.passed()) {
    std::printf(
        "verdict: STEM.lock does not hold here; make sure by yourself that no two runs write "
        "one file\n");
    return exit_status(ErrorKind::resource);
  }
  if (shared.passed() && usual.mode == StoreMode::shared) {
    std::printf("verdict: shared mode is safe here%s\n",
                usual.nodes == 1 ? " on one node; run this on several nodes to try them" : "");
    return kExitDone;
  }
  if (!log.passed()) {
    std::printf("verdict: neither shared mode nor log mode works here; choose another folder\n");
  } else if (shared.passed()) {
    std::printf(
        "verdict: use log mode (execution.store: auto does): nothing went wrong here, but "
        "%s promises no coherence between %d nodes\n",
        usual.file_system.c_str(), usual.nodes);
  } else {
    std::printf("verdict: use log mode (execution.store: log)\n");
  }
  return exit_status(ErrorKind::resource);
}

int probe(World& world, const std::string& folder) {
  const StoreDecision usual = decide_store_together(world, folder + "/x", StoreChoice::automatic);
  const SharedFolder place(world, folder);
  const ProbeResult visible = probe_visibility(world, place.path());
  const bool is_root = world.rank() == 0;
  if (is_root) {
    std::printf("folder    %s on %s, %d ranks on %d nodes\n", folder.c_str(),
                usual.file_system.c_str(), world.size(), usual.nodes);
    print("names made by one rank are seen by the others", visible);
  }
  if (!visible.passed()) {
    if (is_root) std::printf("verdict: not all ranks see this folder; give one that they share\n");
    return exit_status(ErrorKind::resource);
  }
  const ProbeResult shared = probe_shared_rows(world, place.path());
  if (is_root) print("rows of all ranks in one file (" + shared.component + ")", shared);
  const ProbeResult log = probe_log(world, place.path());
  if (is_root) print("records of all ranks in segments of the log", log);
  const ProbeResult rename = probe_rename(world, place.path());
  if (is_root) print("a renamed file is seen whole by the others", rename);
  const ProbeResult lock = probe_lock(world, place.path());
  if (is_root) print("a lock of one rank holds for the others", lock);
  const Speed speed = measure_speed(world, place.path());
  if (is_root) {
    std::printf("speed     %.0f MB/s written by all ranks; fdatasync of a row %.2f ms\n",
                speed.megabytes_per_s, 1e3 * speed.sync_s);
    return verdict(rename.passed() ? shared : rename, log, lock, usual);
  }
  return kExitDone;
}

}  // namespace

int selftest_io_command(const std::string& folder) {
  return with_world([&](World& world) {
    int status = probe(world, folder);
    status = std::stoi(world.broadcast(std::to_string(status), 0));
    return status;
  });
}

}  // namespace mechsweep
