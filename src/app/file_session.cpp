#include "app/file_session.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include <spdlog/spdlog.h>
#include <unistd.h>

#include "app/earlier_launches.h"
#include "app/unit_loop.h"
#include "mpi/shared_file.h"
#include "plan/dispatch_policy.h"
#include "store/file_system.h"
#include "store/lock.h"
#include "store/log_fold.h"
#include "store/posix_file.h"
#include "store/results_file.h"
#include "store/results_layout.h"

namespace mechsweep {

namespace {

constexpr double kNominalFlopsPerSecond = 1e11;

/// Units that are left, yet not for this launch. Parts of a job array do not know of each other's
/// units, so stages that wait for earlier ones are for the merged file.
std::vector<int> unwanted_units(const FileSession& session, const EarlierLaunches& earlier) {
  std::vector<int> unwanted;
  if (session.wanted.empty()) return unwanted;
  std::vector<bool> finished(session.layout.units.size(), false);
  for (const JournalledUnit& entry : earlier.finished) finished[entry.unit] = true;
  for (size_t i = 0; i < finished.size(); ++i) {
    const UnitSpec& unit = session.layout.units[i];
    if (finished[i]) continue;
    if (!session.wanted[i] || !session.stage_needs(unit.run, unit.stage).empty())
      unwanted.push_back(static_cast<int>(i));
  }
  return unwanted;
}

/// Stages of all runs as the policy numbers them.
std::unique_ptr<DispatchPolicy> make_policy(const FileSession& session, int ranks,
                                            const EarlierLaunches& earlier) {
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
                     .predicted_s = unit.flops / kNominalFlopsPerSecond,
                     .crashes = static_cast<int>(earlier.crashes[i])});
  }
  std::vector<std::vector<int>> needs;
  for (const auto& [run, stage] : stages) {
    needs.emplace_back();
    for (const RunStage& other : session.stage_needs(run, stage))
      needs.back().push_back(groups.at({other.run, other.stage}));
  }
  std::vector<JournalledUnit> finished = earlier.finished;
  for (const int unit : unwanted_units(session, earlier)) finished.push_back({unit, 0.0});
  return std::make_unique<DispatchPolicy>(std::move(costs), std::move(needs), ranks, finished);
}

/// Collective: the host of every rank, on rank 0.
Json hosts_of(World& world) {
  return world.gather(this_node().host);
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
Json certify_models(World& world, const FileSession& session, const EarlierLaunches& earlier) {
  if (!session.certify) return Json::object();
  std::set<int> models;
  std::vector<bool> left(session.unit_models.size(), true);
  for (const JournalledUnit& unit : earlier.finished) left[unit.unit] = false;
  for (const int unit : unwanted_units(session, earlier)) left[unit] = false;
  for (size_t unit = 0; unit < left.size(); ++unit)
    if (left[unit]) models.insert(session.unit_models[unit]);
  models.erase(-1);  // units that run no model
  return session.certify(Json::parse(world.broadcast(Json(models).dump(), 0)));
}

/// Collective. Ranks that would compute other last bits must not share a file by accident.
void check_machines_of_ranks(World& world, const FileSession& session) {
  if (session.machine.empty()) return;
  const Json machines = world.gather(session.machine.dump());
  world.on_root([&] {
    for (size_t rank = 1; rank < machines.size(); ++rank) {
      if (machines[rank] == machines[0]) continue;
      if (!session.allow_mixed)
        fail(ErrorKind::usage,
             "rank {} computes on another kind of machine than rank 0, so last bits may differ "
             "({} there, {} on rank 0); use nodes of one kind, or say --allow-mixed",
             rank, machines[rank].get<std::string>(), machines[0].get<std::string>());
      spdlog::warn("rank {} computes on another kind of machine than rank 0", rank);
    }
  });
}

/// Collective: what rank 0 knows of crashes, by unit.
std::vector<uint32_t> share_crashes(World& world, const EarlierLaunches& earlier) {
  Json crashed = Json::array();
  for (size_t unit = 0; unit < earlier.crashes.size(); ++unit)
    if (earlier.crashes[unit] > 0) crashed.push_back({unit, earlier.crashes[unit]});
  std::vector<uint32_t> crashes(earlier.crashes.size(), 0);
  for (const Json& entry : Json::parse(world.broadcast(crashed.dump(), 0)))
    crashes[entry[0].get<size_t>()] = entry[1].get<uint32_t>();
  return crashes;
}

/// Collective: works through the units, the launch's record before and after it.
LoopOutcome run_launch(World& world, const FileSession& session, const EarlierLaunches& earlier,
                       int64_t launch, UnitStore& store, AttemptRecord record) {
  UnitSink& writer = store.sink();
  const auto slot = static_cast<int>((launch - 1) % kAttemptSlots);
  record.facts["attempt"] = launch;
  record.facts["started"] = now_text();
  record.facts["world"] = world.describe();
  record.facts["hosts"] = hosts_of(world);
  world.on_root([&] { writer.write_attempt(slot, record); });
  std::unique_ptr<DispatchPolicy> policy;
  if (world.rank() == 0) policy = make_policy(session, world.size(), earlier);
  UnitLoop loop{.world = world,
                .writer = writer,
                .policy = policy.get(),
                .compute = [&](int unit) { return session.compute(unit, store.source()); },
                .unit_names = session.unit_names,
                .done_flops = earlier.finished_flops,
                .attempt = static_cast<uint32_t>(launch),
                .crashes = share_crashes(world, earlier),
                .sync_interval_s = session.sync_interval_s,
                .end_by = session.end_by,
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
    // Alone nobody else is at work, so nothing need be left to say that the file is in use.
    if (world.size() == 1) ::unlink(companion_path(session.path, ".lock").c_str());
    world.abort(exit_status(error.kind()));
  }
  world.on_root([&] {
    record.facts["ended"] = now_text();
    record.facts["interrupted"] = outcome.interrupted;
    record.facts["units_failed"] = outcome.failed;
    writer.write_attempt(slot, record);
    writer.sync();
  });
  return outcome;
}

/// Whether units need what earlier stages have stored.
bool reads_back(const FileSession& session) {
  return std::any_of(
      session.layout.units.begin(), session.layout.units.end(),
      [&](const UnitSpec& unit) { return !session.stage_needs(unit.run, unit.stage).empty(); });
}

/// Rank 0: what earlier launches in log mode left beside the file goes into it.
void take_in_log(const std::string& path) {
  const FoldReport report = fold_log(path);
  if (report.units > 0)
    spdlog::info("{}: {} units of an earlier launch put into the file from its log", path,
                 report.units);
  if (report.lost_bytes > 0)
    spdlog::warn("{}: {} bytes of its log were cut off or damaged; their units are computed again",
                 path, report.lost_bytes);
  for (const std::string& segment : report.foreign)
    spdlog::warn("{} holds units of another sweep and is left alone; remove it", segment);
}

/// From the open file to its end; the caller has the lock.
int work_on_file(World& world, const FileSession& session) {
  const StoreDecision store = decide_store_together(world, session.path, session.store);
  if (!store.reason.empty() && world.rank() == 0) spdlog::warn("{}", store.reason);
  std::optional<EarlierLaunches> found;
  world.on_root([&] {
    if (std::filesystem::exists(session.path)) {
      take_in_log(session.path);
      found = read_earlier_launches(session);
    } else {
      remove_log(session.path);
    }
  });
  const bool exists = world.broadcast(found ? "1" : "0", 0) == "1";
  check_machines_of_ranks(world, session);
  AttemptRecord record{session.facts};
  const EarlierLaunches earlier = found ? *found : EarlierLaunches(session.layout.units.size());
  const Json certificates = certify_models(world, session, earlier);
  if (!certificates.empty()) record.facts["certificates"] = certificates;
  if (!session.machine.empty()) record.facts["machine"] = session.machine;
  if (!exists) create_results_file(world, session.path, session.layout, store.mode);
  if (exists && world.rank() == 0)
    spdlog::info("resuming {}: {} of {} units are done", session.path,
                 std::ssize(earlier.finished) - earlier.quarantined, session.layout.units.size());
  if (earlier.quarantined > 0)
    spdlog::warn("{} {} left out, having crashed {} times each; --retry-quarantined tries again",
                 earlier.quarantined, earlier.quarantined == 1 ? "unit is" : "units are",
                 kCrashesToQuarantine);
  const int64_t launch = std::stoll(world.broadcast(std::to_string(earlier.launches), 0)) + 1;
  UnitStore units(world, session.path, session.layout, store.mode, static_cast<uint32_t>(launch),
                  reads_back(session));
  record.facts["io_component"] = units.component();
  record.facts["store"] = {{"mode", store_mode_name(store.mode)},
                           {"file_system", store.file_system},
                           {"nodes", store.nodes}};
  const LoopOutcome outcome = run_launch(world, session, earlier, launch, units, std::move(record));
  units.close();
  const int status = loop_status(outcome);
  const bool quarantined = world.broadcast(earlier.quarantined > 0 ? "1" : "0", 0) == "1";
  return status == kExitDone && quarantined ? kExitUnitsFailed : status;
}

}  // namespace

int run_session(World& world, const FileSession& session) {
  const auto lock = lock_together(world, session.path);
  int status = 0;
  try {
    world.on_root([&] {
      // A stop file of an earlier launch has done its work.
      remove_file(companion_path(session.path, ".stop"));
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
