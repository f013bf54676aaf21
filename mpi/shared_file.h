#pragma once

#include <string>

#include "mpi/world.h"
#include "store/file_layout.h"

namespace mechsweep {

/// Collective: makes a results file: rank 0 lays it out, every rank prefills its share, rank 0 puts
/// it in place. Rank 0 holds STEM.lock. All ranks throw the same Error when any step fails, and
/// only STEM.lock is left then.
void create_results_file(World& world, const std::string& path, const FileLayout& layout);

}  // namespace mechsweep
