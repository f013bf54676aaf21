#include <cstdio>

#include "app/commands.h"
#include "plan/plan.h"

namespace mechsweep {

int prompts_command(const std::string& config) {
  OpenedSweep opened = open_sweep(config);
  // Hashes only name the models; prompts do not depend on them.
  std::vector<std::vector<FileHash>> hashes(opened.checkpoints.size());
  const Plan plan = make_plan(std::move(opened), std::move(hashes));
  for (const auto& planned : plan.prompts)
    for (const Prompt& prompt : planned->set.prompts)
      std::printf("%s\n", prompt_to_json(prompt).dump().c_str());
  return kExitDone;
}

}  // namespace mechsweep
