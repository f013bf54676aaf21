#pragma once

#include <memory>

#include "mpi/world.h"

namespace mechsweep {

/// Starts MPI and returns the world of all its ranks; see start_world. Collective: all ranks call
/// it. At most once per process.
std::unique_ptr<World> make_mpi_world(int* argc, char*** argv);

}  // namespace mechsweep
