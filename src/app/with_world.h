#pragma once

#include <functional>

#include "mpi/world.h"

namespace mechsweep {

/// Starts the world, runs `body` on every rank and returns its status. An Error that all ranks know
/// of is printed by rank 0 only and ends them all with its status; one that a rank met alone is
/// printed by it and aborts the others.
int with_world(const std::function<int(World&)>& body);

}  // namespace mechsweep
