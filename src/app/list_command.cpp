#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "core/error.h"
#include "engine/site.h"
#include "experiments/experiment.h"
#include "model/arch/architecture.h"
#include "prompts/prompt_table.h"
#include "stats/statistic_table.h"

namespace mechsweep {

namespace {

template <typename Table>
void print_table(const Table& table) {
  size_t width = 20;
  for (const auto& entry : table) width = std::max(width, entry.name.size());
  for (const auto& entry : table)
    std::printf("%-*.*s %.*s\n", static_cast<int>(width), static_cast<int>(entry.name.size()),
                entry.name.data(), static_cast<int>(entry.summary.size()), entry.summary.data());
}

}  // namespace

int list_command(const std::string& what) {
  if (what == "architectures") {
    print_table(architecture_table());
  } else if (what == "prompts") {
    print_table(prompt_table());
  } else if (what == "experiments") {
    print_table(experiment_table());
  } else if (what == "statistics") {
    print_table(statistic_table());
  } else if (what == "sites") {
    print_table(site_table());
  } else {
    const std::string near =
        nearest_name(what, {"architectures", "prompts", "experiments", "statistics", "sites"});
    fail(ErrorKind::usage,
         "nothing called '{}' can be listed{}; there are architectures, prompts, experiments, "
         "statistics and sites",
         what, near.empty() ? "" : " (did you mean '" + near + "'?)");
  }
  return kExitDone;
}

}  // namespace mechsweep
