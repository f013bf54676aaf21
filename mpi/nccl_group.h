#pragma once

#include <memory>

#include "core/group.h"

namespace mechsweep {

/// A Group of the same members as `bootstrap` whose all_reduce_sum, all_gather and broadcast go
/// through NCCL on GPU `device`. Collective over `bootstrap`, which carries NCCL's identifier.
/// Throws Error{resource} when this program was built without CUDA.
std::unique_ptr<Group> make_nccl_group(Group& bootstrap, int device);

}  // namespace mechsweep
