#include <algorithm>
#include <filesystem>
#include <optional>

#include <spdlog/spdlog.h>

#include "app/commands.h"
#include "app/control_tables.h"
#include "app/file_session.h"
#include "app/summary_tables.h"
#include "app/with_world.h"
#include "core/hash.h"
#include "experiments/summary.h"
#include "store/lock.h"
#include "store/posix_file.h"
#include "store/read_guard.h"
#include "store/results_file.h"
#include "store/results_layout.h"
#include "store/summary_layout.h"

namespace mechsweep {

namespace {

/// What a results file says, read and checked.
struct Source {
  FileLayout layout;
  std::vector<RunSummary> runs;
  std::string state;  ///< hash of what is done
};

/// Whether some run counts only prompts that models answer right, so that answers of all runs are
/// needed first.
bool asks_for_answers(const FileLayout& layout) {
  return std::any_of(layout.groups.begin(), layout.groups.end(), [](const GroupSpec& group) {
    return group.path.starts_with("/runs/") &&
           group.attributes.value("statistics", "").find("correct_in") != std::string::npos;
  });
}

Source read_source(const std::string& path) {
  const ResultsReader reader(path);
  Source source{.layout = reader.layout()};
  if (source.layout.attributes.at("format") != kResultsFormat)
    fail(ErrorKind::input, "{}: is not a results file (format '{}'); give the file that run wrote",
         path, source.layout.attributes.at("format").get<std::string>());
  Sha256 hash;
  for (const JournalEntry& entry : reader.journal())
    hash.update(fmt::format("{} {};", static_cast<int>(entry.state), entry.payload_crc));
  source.state = hash.hex_digest();
  const auto ids = reader.run_ids();
  std::optional<BaseAnswers> answers;
  if (asks_for_answers(source.layout)) {
    answers.emplace();
    for (size_t run = 0; run < ids.size(); ++run)
      answers->add(reader.read_run(static_cast<int>(run)));
  }
  for (size_t run = 0; run < ids.size(); ++run) {
    const StoredRun stored = reader.read_run(static_cast<int>(run));
    const StatisticsConfig statistics = statistics_of(stored);
    std::optional<PromptFilter> filter;
    if (statistics.correct_in) filter = answers.value().filter(stored, *statistics.correct_in);
    source.runs.push_back(summarise_run(stored, std::move(filter)));
  }
  return source;
}

/// A summary of an earlier state of the results, with its tables, is worth nothing any more.
void remove_stale_summary(const std::string& path, const std::string& key) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return;
  std::string old_key;
  {
    const ResultsReader reader(path);
    if (reader.layout().attributes.at("format") != kSummaryFormat)
      fail(ErrorKind::input, "{}: is in the way and no summary of ours; move it away", path);
    old_key = reader.layout().attributes.value("key", "");
  }
  if (old_key == key) return;
  spdlog::info("{}: replacing the summary of an earlier state", path);
  for (const char* table : {".csv", ".json", ".controls.csv"})
    remove_file(companion_path(path, table));
  remove_file(path);
  remove_file(companion_path(path, ".meta"));
}

int reduce_on(World& world, const std::string& file) {
  std::optional<Source> source;
  // Every rank reads the file, but only one tries first whether it can be read at all.
  world.on_root([&] {
    const ResultsReader reader(file);
    require_whole_units(reader, file, -1);
  });
  if (world.rank() != 0) ReadGuard::trust(file);
  world.together([&] { source.emplace(read_source(file)); });
  SummaryPlan plan;
  world.together([&] {
    plan = plan_summary(source->layout, std::filesystem::path(file).filename().string(),
                        source->runs, source->state);
  });
  const std::string path = companion_path(file, ".summary.h5");
  world.on_root(
      [&] { remove_stale_summary(path, plan.layout.attributes.at("key").get<std::string>()); });
  FileSession session{.path = path, .layout = plan.layout, .what = "reduce"};
  session.unit_models.assign(plan.units.size(), 0);
  session.stage_needs = [](int /*run*/, int /*stage*/) { return std::vector<RunStage>(); };
  for (const SummaryUnit& unit : plan.units)
    session.unit_names.push_back(source->runs[unit.run].id + " " +
                                 source->runs[unit.run].metrics[unit.metric].name);
  const uint64_t seed = source->layout.attributes.at("seed").get<uint64_t>();
  session.compute = [&](int index, const UnitSource& /*stored*/) {
    const RunSummary& run = source->runs[plan.units[index].run];
    const SummaryMetric& metric = run.metrics[plan.units[index].metric];
    return summary_blocks(metric, summarise_metric(run, metric, seed));
  };
  session.facts = {{"software_version", software_version()}, {"ranks", world.size()}};
  const int status = run_session(world, session);
  if (status == kExitDone)
    world.on_root([&] {
      write_summary_csv(path, companion_path(file, ".summary.csv"));
      write_control_csv(path, companion_path(file, ".summary.controls.csv"));
      write_summary_json(path, companion_path(file, ".summary.json"));
      for (const RunSummary& run : source->runs)
        for (const std::string& warning : run.warnings) spdlog::warn("{}: {}", run.id, warning);
    });
  return status;
}

}  // namespace

int reduce_command(const std::string& file) {
  return with_world([&](World& world) { return reduce_on(world, file); });
}

}  // namespace mechsweep
