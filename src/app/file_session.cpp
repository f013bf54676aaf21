#include "app/file_session.h"

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include <spdlog/spdlog.h>
#include <unistd.h>

#include "app/unit_loop.h"
#include "mpi/shared_file.h"
#include "plan/dispatch_policy.h"
#include "store/lock.h"
#include "store/results_file.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

constexpr double kNominalFlopsPerSecond = 1e11;

/// What rank 0 learns from a file that is there already.
struct Earlier {
  std::vector<JournalledUnit> done;
  double done_flops = 0.0;
  int attempts = 0;
};

void check_key(const FileLayout& in_file, const FileSession& session) {
  const Json& now = session.layout.attributes;
  if (in_file.attributes.value("format", "") != now.at("format").get<std::string>())
    fail(ErrorKind::input, "{}: is a {} file, not a {} file; choose another --out", session.path,
         in_file.attributes.value("format", "foreign"), now.at("format").get<std::string>());
  if (in_file.attributes.value("key", "") == now.at("key").get<std::string>()) return;
  std::string differences;
  const Json before = Json::parse(in_file.attributes.value("identity", "{}"), nullptr, false);
  const Json after = Json::parse(now.value("identity", "{}"));
  for (const std::string& line : describe_differences(before, after))
    differences += (differences.empty() ? "" : "; ") + line;
  fail(ErrorKind::usage,
       "{}: was made by another sweep and cannot be resumed by this one; use another --out, or "
       "remove the file. Differences: {}",
       session.path, differences.empty() ? "none that the file tells" : differences);
}

Earlier read_earlier(const FileSession& session) {
  Earlier earlier;
  const ResultsReader reader(session.path);
  check_key(reader.layout(), session);
  const auto journal = reader.journal();
  for (size_t unit = 0; unit < journal.size(); ++unit) {
    const bool done = journal[unit].state == UnitState::done;
    if (!done && journal[unit].state != UnitState::skipped) continue;
    // After a power loss an entry can be on disk without its payload.
    if (done && !reader.payload_matches(static_cast<int>(unit), journal[unit])) continue;
    earlier.done.push_back({static_cast<int>(unit), journal[unit].seconds});
    earlier.done_flops += session.layout.units[unit].flops;
  }
  earlier.attempts = static_cast<int>(reader.attempts().size());
  return earlier;
}

/// Stages of all runs as the policy numbers them.
std::unique_ptr<DispatchPolicy> make_policy(const FileSession& session, int ranks,
                                            const std::vector<JournalledUnit>& done) {
  std::map<std::pair<int, int>, int> groups;
  std::vector<std::pair<int, int>> stages;
  std::vector<UnitCost> costs;
  for (size_t i = 0; i < session.layout.units.size(); ++i) {
    const UnitSpec& unit = session.layout.units[i];
    const auto [place, is_new] =
        groups.try_emplace({unit.run, unit.stage}, static_cast<int>(stages.size()));
    if (is_new) stages.emplace_back(unit.run, unit.stage);
    costs.push_back({.model = session.unit_models[i],
                     .stage_group = place->second,
                     .predicted_s = unit.flops / kNominalFlopsPerSecond});
  }
  std::vector<std::vector<int>> needs;
  for (const auto& [run, stage] : stages) {
    needs.emplace_back();
    for (const int other : session.stage_needs(run, stage))
      needs.back().push_back(groups.at({run, other}));
  }
  return std::make_unique<DispatchPolicy>(std::move(costs), std::move(needs), ranks, done);
}

/// Collective: the host of every rank, on rank 0.
Json hosts_of(World& world) {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0) name[0] = '?';
  return world.gather(name);
}

/// The lock on every rank: rank 0 takes it first.
std::unique_ptr<FileLock> lock_together(World& world, const std::string& path) {
  std::unique_ptr<FileLock> lock;
  world.on_root([&] { lock = FileLock::acquire(path); });
  world.together([&] {
    if (world.rank() != 0) lock = std::make_unique<FileLock>(path);
  });
  return lock;
}

/// Collective: certifies the models of units that are left, which rank 0 knows.
Json certify_models(World& world, const FileSession& session,
                    const std::optional<Earlier>& earlier) {
  if (!session.certify) return Json::object();
  std::set<int> models(session.unit_models.begin(), session.unit_models.end());
  if (earlier) {
    std::vector<bool> done(session.unit_models.size(), false);
    for (const JournalledUnit& unit : earlier->done) done[unit.unit] = true;
    models.clear();
    for (size_t unit = 0; unit < done.size(); ++unit)
      if (!done[unit]) models.insert(session.unit_models[unit]);
  }
  models.erase(-1);  // units that run no model
  return session.certify(Json::parse(world.broadcast(Json(models).dump(), 0)));
}

/// From the open file to its end; the caller has the lock.
int work_on_file(World& world, const FileSession& session) {
  std::optional<Earlier> earlier;
  world.on_root([&] {
    if (std::filesystem::exists(session.path)) earlier = read_earlier(session);
  });
  const bool exists = world.broadcast(earlier ? "1" : "0", 0) == "1";
  const Json certificates = certify_models(world, session, earlier);
  if (!exists) create_results_file(world, session.path, session.layout);
  if (!earlier) earlier.emplace();
  const int attempt = std::stoi(world.broadcast(std::to_string(earlier->attempts), 0));
  if (exists && world.rank() == 0)
    spdlog::info("resuming {}: {} of {} units are done", session.path, earlier->done.size(),
                 session.layout.units.size());
  std::unique_ptr<ResultsWriter> writer;
  const auto access = world.file_access();
  world.together(
      [&] { writer = std::make_unique<ResultsWriter>(session.path, session.layout, *access); });
  AttemptRecord record{session.facts};
  record.facts["attempt"] = attempt + 1;
  record.facts["started"] = now_text();
  record.facts["world"] = world.describe();
  record.facts["hosts"] = hosts_of(world);
  record.facts["io_component"] = access->component();
  if (!certificates.empty()) record.facts["certificates"] = certificates;
  world.on_root([&] { writer->write_attempt(attempt, record); });
  std::unique_ptr<DispatchPolicy> policy;
  if (world.rank() == 0) policy = make_policy(session, world.size(), earlier->done);
  UnitLoop loop{.world = world,
                .writer = *writer,
                .policy = policy.get(),
                .compute = session.compute,
                .unit_names = session.unit_names,
                .done_flops = earlier->done_flops,
                .attempt = static_cast<uint32_t>(attempt + 1),
                .sync_interval_s = session.sync_interval_s,
                .stop_path = companion_path(session.path, ".stop"),
                .what = session.what};
  for (const UnitSpec& unit : session.layout.units) loop.unit_flops.push_back(unit.flops);
  LoopOutcome outcome;
  try {
    outcome = run_units(loop);
  } catch (const Error& error) {
    // Other ranks are in the middle of their work: there is no door to leave by together.
    spdlog::critical("{} (rank {}; the file keeps what is done: run the same command again)",
                     error.what(), world.rank());
    world.abort(exit_status(error.kind()));
  }
  world.on_root([&] {
    record.facts["ended"] = now_text();
    record.facts["interrupted"] = outcome.interrupted;
    record.facts["units_failed"] = outcome.failed;
    writer->write_attempt(attempt, record);
    writer->sync();
  });
  world.together([&] { writer->close(); });
  return loop_status(outcome);
}

}  // namespace

int run_session(World& world, const FileSession& session) {
  const auto lock = lock_together(world, session.path);
  int status = 0;
  try {
    world.on_root([&] {
      // A stop file of an earlier launch has done its work.
      std::filesystem::remove(companion_path(session.path, ".stop"));
    });
    status = work_on_file(world, session);
  } catch (const Error&) {
    if (world.rank() == 0) FileLock::release(session.path);
    throw;
  }
  world.barrier();
  if (world.rank() == 0) FileLock::release(session.path);
  return status;
}

}  // namespace mechsweep
