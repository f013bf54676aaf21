#include <cstdio>
#include <functional>

#include <spdlog/spdlog.h>

#include "app/attempt_facts.h"
#include "app/commands.h"
#include "app/machine_facts.h"
#include "core/error.h"
#include "store/merge.h"

namespace mechsweep {

namespace {

/// Numbers of one file are to be those of one kind of machine, unless somebody wants otherwise.
class MachineCheck {
 public:
  explicit MachineCheck(bool allow_mixed) : allow_mixed_(allow_mixed) {}

  void operator()(const std::string& file, const std::vector<AttemptRecord>& attempts,
                  const std::set<int64_t>& counted) {
    if (first_.empty()) take_first(file, attempts, counted);
    if (first_.empty()) return;
    const std::string differences = joined(machine_differences(attempts, counted, first_));
    if (differences.empty()) return;
    if (!allow_mixed_)
      fail(ErrorKind::usage,
           "{} was made on another kind of machine than {}, so their last bits may differ ({}); "
           "merge files of one kind, or say --allow-mixed",
           file, first_file_, differences);
    spdlog::warn("{} was made on another kind of machine than {} ({})", file, first_file_,
                 differences);
  }

 private:
  void take_first(const std::string& file, const std::vector<AttemptRecord>& attempts,
                  const std::set<int64_t>& counted) {
    for (const AttemptRecord& attempt : attempts) {
      const Json number = fact(attempt.facts, "attempt");
      const Json machine = fact(attempt.facts, "machine");
      if (!machine.is_object() || !number.is_number_integer()) continue;
      if (!counted.contains(number.get<int64_t>())) continue;
      first_ = machine;
      first_file_ = file;
      return;
    }
  }

  bool allow_mixed_;
  Json first_ = Json::object();
  std::string first_file_;
};

}  // namespace

int merge_command(const MergeOptions& options) {
  MachineCheck check(options.allow_mixed);
  const MergeReport report = merge_results(options.out, options.inputs, std::ref(check));
  for (const std::string& note : report.notes) spdlog::warn("{}", note);
  if (report.folded > 0)
    spdlog::info("{}: {} units put into the file from its log", options.out, report.folded);
  std::printf("units     %lld: %lld done, %lld left, %lld failed, %lld skipped\n",
              static_cast<long long>(report.units), static_cast<long long>(report.done),
              static_cast<long long>(report.left), static_cast<long long>(report.failed),
              static_cast<long long>(report.skipped));
  std::printf("merged    %lld units from %zu files\n", static_cast<long long>(report.copied),
              options.inputs.size());
  if (report.left > 0) return exit_status(ErrorKind::interrupted);
  return report.failed > 0 ? kExitUnitsFailed : kExitDone;
}

}  // namespace mechsweep
