#include "app/earlier_launches.h"

#include <algorithm>
#include <set>

#include <spdlog/spdlog.h>

#include "app/attempt_facts.h"
#include "app/machine_facts.h"
#include "store/results_file.h"

namespace mechsweep {

namespace {

void check_key(const FileLayout& in_file, const FileSession& session) {
  const Json& now = session.layout.attributes;
  if (in_file.attributes.value("format", "") != now.at("format").get<std::string>())
    fail(ErrorKind::input, "{}: is a {} file, not a {} file; choose another --out", session.path,
         in_file.attributes.value("format", "foreign"), now.at("format").get<std::string>());
  if (in_file.attributes.value("key", "") == now.at("key").get<std::string>()) return;
  fail(ErrorKind::usage,
       "{}: was made by another sweep and cannot be resumed by this one; use another --out, or "
       "remove the file. Differences: {}",
       session.path, identity_differences(in_file.attributes, now));
}

/// Numbers of one file are to be those of one kind of machine, unless somebody wants otherwise.
void check_machines(const ResultsReader& reader, const std::vector<JournalEntry>& journal,
                    const FileSession& session) {
  if (session.machine.empty()) return;
  std::set<int64_t> counted;
  for (const JournalEntry& entry : journal)
    if (entry.state == UnitState::done) counted.insert(entry.attempt);
  const std::string differences =
      joined(machine_differences(reader.attempts(), counted, session.machine));
  if (differences.empty()) return;
  if (!session.allow_mixed)
    fail(ErrorKind::usage,
         "{}: was begun on another kind of machine, so its last bits may differ ({}); resume on "
         "the same kind, or say --allow-mixed",
         session.path, differences);
  spdlog::warn("{}: resumed on another kind of machine, as --allow-mixed allows ({})", session.path,
               differences);
}

/// Records are overwritten after a while, so their number alone does not count launches.
int64_t launches_of(const ResultsReader& reader, const std::vector<JournalEntry>& journal) {
  int64_t launches = 0;
  for (const JournalEntry& entry : journal) launches = std::max<int64_t>(launches, entry.attempt);
  for (const AttemptRecord& record : reader.attempts()) {
    const Json number = fact(record.facts, "attempt");
    if (number.is_number_integer()) launches = std::max(launches, number.get<int64_t>());
  }
  return launches;
}

}  // namespace

EarlierLaunches read_earlier_launches(const FileSession& session) {
  const ResultsReader reader(session.path);
  check_key(reader.layout(), session);
  const auto journal = reader.journal();
  EarlierLaunches earlier(journal.size());
  check_machines(reader, journal, session);
  for (size_t unit = 0; unit < journal.size(); ++unit) {
    const JournalEntry& entry = journal[unit];
    earlier.crashes[unit] = session.retry_quarantined ? 0 : entry.crashes;
    const bool quarantined = entry.state == UnitState::quarantined && !session.retry_quarantined;
    if (entry.state != UnitState::done && entry.state != UnitState::skipped && !quarantined)
      continue;
    // After a power loss an entry can be on disk without its payload.
    if (entry.state == UnitState::done && !reader.payload_matches(static_cast<int>(unit), entry))
      continue;
    // Only units that were computed tell how long units take.
    const bool computed = entry.state == UnitState::done;
    earlier.finished.push_back({static_cast<int>(unit), computed ? entry.seconds : 0.0});
    earlier.finished_flops += session.layout.units[unit].flops;
    if (quarantined) ++earlier.quarantined;
  }
  earlier.launches = launches_of(reader, journal);
  return earlier;
}

}  // namespace mechsweep
