#include "app/machine_facts.h"

#include <fstream>

#include "app/attempt_facts.h"
#include "core/error.h"
#include "model/kernel_set.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

const char* isa_level() {
  if (__builtin_cpu_supports("x86-64-v4") != 0) return "x86-64-v4";
  if (__builtin_cpu_supports("x86-64-v3") != 0) return "x86-64-v3";
  return "x86-64";
}

std::string shown(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

Json machine_facts(const std::string& kernels) {
  Json facts = {{"isa", isa_level()},
                {"tensor_library", tensor_library_version()},
                {"mechsweep", software_version()},
                {"compiler", __VERSION__}};
  if (kernels != "native") facts["cpu"] = cpu_model();
  return facts;
}

std::vector<std::string> machine_differences(const std::vector<AttemptRecord>& attempts,
                                             const std::set<int64_t>& counted, const Json& now) {
  for (const AttemptRecord& attempt : attempts) {
    const Json number = fact(attempt.facts, "attempt");
    const Json before = fact(attempt.facts, "machine");
    if (!number.is_number_integer() || !before.is_object()) continue;
    const auto launch = number.get<int64_t>();
    if (!counted.contains(launch)) continue;
    std::vector<std::string> differences;
    for (const auto& [name, value] : now.items())
      if (before.contains(name) && before.at(name) != value)
        differences.push_back(fmt::format("{}: {} in launch {}, {} now", name,
                                          shown(before.at(name)), launch, shown(value)));
    if (!differences.empty()) return differences;
  }
  return {};
}

}  // namespace mechsweep
