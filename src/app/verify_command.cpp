#include <cstdio>

#include "app/commands.h"
#include "app/guarded_reading.h"
#include "core/error.h"
#include "store/restore.h"
#include "store/results_file.h"

namespace mechsweep {

int verify_command(const std::string& file, bool restore) {
  if (restore)
    for (const std::string& done : restore_metadata(file))
      std::printf("restored  %s\n", done.c_str());
  Verification found;
  reading_results(file, [&] {
    found = verify_file(file);
    return kExitDone;
  });
  std::printf("units     %lld: %lld done, %lld left, %lld failed, %lld skipped\n",
              static_cast<long long>(found.units), static_cast<long long>(found.done),
              static_cast<long long>(found.left), static_cast<long long>(found.failed),
              static_cast<long long>(found.skipped));
  for (const std::string& id : found.failed_ids) std::printf("failed    %s\n", id.c_str());
  for (const std::string& note : found.notes) std::printf("note      %s\n", note.c_str());
  for (const std::string& damage : found.damage) std::printf("damaged   %s\n", damage.c_str());
  if (!found.damage.empty()) return exit_status(ErrorKind::input);
  std::printf("digest    %s\n", found.digest.c_str());
  if (found.left > 0) return exit_status(ErrorKind::interrupted);
  return found.failed > 0 ? kExitUnitsFailed : kExitDone;
}

}  // namespace mechsweep
