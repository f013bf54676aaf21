#include "mpi/nccl_group.h"

#include "core/error.h"

namespace mechsweep {

std::unique_ptr<Group> make_nccl_group(Group& /*bootstrap*/, int device) {
  fail(ErrorKind::resource,
       "this program was built without CUDA, so GPU {} cannot be used; build it with "
       "scripts/build.sh --cuda, or run on the CPU",
       device);
}

}  // namespace mechsweep
