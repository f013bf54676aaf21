#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/json.h"
#include "store/results_file.h"

namespace mechsweep {

/// What about this machine and program can change the last bits of a number computed with a kernel
/// set: "isa" (level of x86-64), "tensor_library", "mechsweep", "compiler", and for kernel sets of
/// libraries, which choose by cache sizes too, "cpu" (its model). A JSON object of texts.
Json machine_facts(const std::string& kernels);
/// The model of the processor, as /proc/cpuinfo names it.
std::string cpu_model();

/// Differences between a machine and those that earlier launches ran on, one sentence each ("isa:
/// x86-64-v4 in launch 1, x86-64-v3 now"). Launches in `counted` (from 1) only: one that left
/// nothing in the file does not matter. Launches without such facts count as alike.
std::vector<std::string> machine_differences(const std::vector<AttemptRecord>& attempts,
                                             const std::set<int64_t>& counted, const Json& now);

}  // namespace mechsweep
