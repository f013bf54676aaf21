#pragma once

#include "mpi/world.h"

namespace mechsweep {

/// The world of this test program; made before any test runs.
World& test_world();

}  // namespace mechsweep
