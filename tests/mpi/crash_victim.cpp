// Works through the sample's units as `run` does, except that one unit ends the process, or one
// rank hangs. Arguments: the file, the unit, and how:
//   segv, bus, fpe, ill, abort, overflow   the thread that computes the unit does that
//   helper                                 another thread does, which the unit waits for
//   main                                   the main thread aborts while the unit is computed
//   wait                                   the unit makes FILE.waiting and takes long: somebody
//   else
//                                          sends a signal
//   never                                  nothing happens
//   hang                                   the last rank stays away from a barrier before the work
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "app/file_session.h"
#include "app/with_world.h"
#include "core/watchdog.h"
#include "unit/store/sample_layout.h"

namespace {

using namespace mechsweep;

std::atomic<bool> main_aborts{false};

/// Not to be optimised into a loop.
[[gnu::noinline]] int64_t dig(int64_t depth) {
  volatile char room[4096] = {};
  room[depth % 4096] = 1;
  return depth < 0 ? room[0] : dig(depth + 1) + room[1];
}

[[noreturn]] void die(const std::string& how) {
  if (how == "segv") *static_cast<volatile int*>(nullptr) = 1;  // NOLINT: on purpose
  if (how == "fpe") ::raise(SIGFPE);
  if (how == "ill") __builtin_trap();
  if (how == "bus") {
    // A page beyond the end of a file.
    std::FILE* file = std::tmpfile();
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ::fileno(file), 0);
    *static_cast<volatile int*>(page) = 1;
  }
  if (how == "overflow") std::exit(static_cast<int>(dig(0)));
  std::abort();
}

void end_unit(const std::string& path, const std::string& how) {
  if (how == "never") return;
  if (how == "wait") std::ofstream(path + ".waiting") << "1";
  if (how == "helper") {
    std::thread([] { die("segv"); }).join();
  } else if (how == "main" || how == "wait") {
    main_aborts = how == "main";
    ::sleep(20);
  } else {
    die(how);
  }
}

/// MPI and file work is done by the main thread; here a timer stands for a fault in it.
void abort_on_main(int /*signal*/) {
  if (main_aborts) std::abort();
}

int work(World& world, const std::string& path, int fatal_unit, const std::string& how) {
  if (how == "hang") {
    Watchdog::set_limits({.collective_s = 1.0});
    if (world.rank() == world.size() - 1) ::sleep(30);
    world.barrier();
  }
  FileLayout layout = sample::layout();
  layout.attributes["format"] = kResultsFormat;
  FileSession session{.path = path, .layout = layout, .what = "sweep"};
  session.unit_models.assign(layout.units.size(), 0);
  for (size_t i = 0; i < layout.units.size(); ++i)
    session.unit_names.push_back("number " + std::to_string(i));
  session.stage_needs = [](int /*run*/, int /*stage*/) { return std::vector<RunStage>(); };
  session.compute = [&](int unit, const UnitSource& /*stored*/) {
    if (unit == fatal_unit) end_unit(path, how);
    return sample::result(layout, unit);
  };
  return run_session(world, session);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::signal(SIGALRM, abort_on_main);
  const itimerval every{.it_interval = {0, 50'000}, .it_value = {0, 50'000}};
  if (std::string(argv[3]) == "main") ::setitimer(ITIMER_REAL, &every, nullptr);
  return mechsweep::with_world(
      [&](mechsweep::World& world) { return work(world, argv[1], std::atoi(argv[2]), argv[3]); });
}
