#include <cstdio>

#include "app/commands.h"
#include "core/error.h"
#include "engine/selftest.h"
#include "model/kernel_set.h"

namespace mechsweep {

int selftest_command(const SelftestOptions& options) {
  if (options.device != "cpu")
    fail(ErrorKind::resource, "device '{}' is not supported by this version; it computes on cpu",
         options.device);
  bool passed = true;
  for (const SelftestCheck& check :
       run_selftest(parse_kernel_set(options.kernels), options.dtype, options.threads)) {
    std::printf("%-6s %s%s%s\n", check.passed ? "ok" : "FAILED", check.name.c_str(),
                check.detail.empty() ? "" : ": ", check.detail.c_str());
    passed = passed && check.passed;
  }
  std::printf("%s\n", passed ? "this machine gives the same bits whatever the schedule"
                             : "results on this machine may depend on the schedule");
  return passed ? kExitDone : exit_status(ErrorKind::resource);
}

}  // namespace mechsweep
