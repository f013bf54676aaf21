// One rank fails where the others know nothing of it and wait for it: all must end at once, with
// the status that World documents. Argument: the rank that fails.
#include <cstdlib>

#include "mpi/world.h"

int main(int argc, char** argv) {
  using namespace mechsweep;
  try {
    const auto world = start_world(&argc, &argv);
    if (world->rank() == std::atoi(argv[1])) fail(ErrorKind::input, "only this rank knows");
    world->barrier();
  } catch (const Error& error) {
    return exit_status(error.kind());
  }
  return 0;
}
