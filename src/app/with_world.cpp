#include "app/with_world.h"

#include <cstdlib>

#include "app/commands.h"
#include "app/stop_signals.h"
#include "core/watchdog.h"
#include "mpi/launch.h"

namespace mechsweep {

int with_world(const std::function<int(World&)>& body) {
  const Watchdog watchdog(rank_by_environment([](const char* name) { return std::getenv(name); }));
  const auto world = start_world(nullptr, nullptr);
  // From here on, so that a signal while a model loads or a file is laid out stops cleanly, too.
  const StopSignals signals;
  try {
    return body(*world);
  } catch (const std::exception& error) {
    if (!world->leaves_together()) world->abort(report(error));
    if (world->rank() == 0) return report(error);
    const auto* known = dynamic_cast<const Error*>(&error);
    return exit_status(known != nullptr ? known->kind() : ErrorKind::internal);
  }
}

}  // namespace mechsweep
