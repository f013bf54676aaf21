// Writes the sample's units over and over from all ranks until somebody kills it. Arguments: the
// file, and the rank and the time in microseconds after which that rank kills itself.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include "mpi/shared_file.h"
#include "unit/store/sample_layout.h"

int main(int argc, char** argv) {
  using namespace mechsweep;
  const auto world = start_world(&argc, &argv);
  if (argc != 4) world->abort(2);
  const std::string path = argv[1];
  const FileLayout layout = sample::layout();
  create_results_file(*world, path, layout);
  ResultsWriter writer(path, layout);
  world->barrier();
  const int delay = std::atoi(argv[3]);
  bool must_start_timer = world->rank() == std::atoi(argv[2]);
  const auto start_timer = [&] {
    must_start_timer = false;
    std::thread([delay] {
      ::usleep(static_cast<useconds_t>(delay));
      ::kill(::getpid(), SIGKILL);
    }).detach();
  };
  // An odd delay counts from the first unit, so that some are written however slow the machine is.
  if (must_start_timer && delay % 2 == 0) start_timer();
  for (;;) {
    for (const int unit : sample::all_units(layout)) {
      if (unit % world->size() != world->rank()) continue;
      writer.write_unit(unit, sample::result(layout, unit), sample::entry());
      if (must_start_timer) start_timer();
    }
  }
}
