#include <set>

#include <spdlog/spdlog.h>

#include "core/error.h"
#include "core/hash.h"
#include "store/log_fold.h"
#include "store/log_segment.h"
#include "store/metadata_copy.h"
#include "store/read_guard.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

constexpr size_t kUnitsNamed = 10;

/// Counts one unit, and adds it to the digest when it is done.
void check_unit(const ResultsReader& reader, int unit, const JournalEntry& entry, Sha256& digest,
                Verification& found) {
  const UnitSpec& spec = reader.layout().units[static_cast<size_t>(unit)];
  const std::string id = to_hex(spec.id);
  switch (entry.state) {
    case UnitState::empty:
      ++found.left;
      return;
    case UnitState::skipped:
      ++found.skipped;
      return;
    case UnitState::failed:
    case UnitState::crashed:
    case UnitState::quarantined:
      ++found.failed;
      found.failed_ids.push_back(id);
      return;
    case UnitState::done:
      break;
  }
  const auto payload = reader.read_payload(unit);
  if (payload.size() != entry.payload_bytes || crc32c(payload) != entry.payload_crc) {
    ++found.left;
    found.damage.push_back(fmt::format(
        "unit {} ({}) has not the checksum that its journal entry gives; run the sweep again to "
        "compute it anew",
        unit, id));
    return;
  }
  ++found.done;
  digest.update(spec.id);
  digest.update(payload);
}

/// Whether HDF5 can be shown the file, which `found` may already call damaged. What it then finds
/// out is added.
bool can_be_read(const std::string& path, Verification& found) {
  // HDF5 must not see damaged metadata outside a guarded process: it can hang or crash on them.
  if (!ReadGuard::is_running()) return found.damage.empty();
  try {
    ReadGuard::check(path);
  } catch (const Error& error) {
    if (found.damage.empty()) throw;
    found.damage.emplace_back(error.what());
    return false;
  }
  return true;
}

void check_attempts(const ResultsReader& reader, Verification& found) {
  const auto attempts = reader.attempts();
  for (size_t i = 0; i < attempts.size(); ++i) {
    if (attempts[i].facts.contains("unreadable")) {
      found.notes.push_back(
          fmt::format("record {} in /attempts cannot be read; no result depends on it", i + 1));
    }
  }
}

/// Units of a run in log mode that was killed, or is at work.
void check_log(const std::string& path, const ResultsReader& reader,
               std::vector<JournalEntry> journal, Verification& found) {
  const int64_t waiting = overlay_log(path, reader.layout(), journal, &found.notes);
  if (waiting == 0) return;
  found.notes.push_back(fmt::format(
      "{} {} in {}, not in the file yet; the next run, or 'mechsweep merge {}', puts {} there",
      waiting, waiting == 1 ? "unit waits" : "units wait", log_folder(path), path,
      waiting == 1 ? "it" : "them"));
}

}  // namespace

Verification verify_file(const std::string& path) {
  Verification found;
  const MetadataCheck metadata = check_metadata(path);
  found.damage = metadata.damage;
  if (!metadata.has_copy) {
    found.notes.push_back(path +
                          " has no STEM.meta beside it, so its metadata were checked against its "
                          "own hash only; 'mechsweep verify --restore' makes STEM.meta anew");
  }
  if (!can_be_read(path, found)) return found;
  const ResultsReader reader(path);
  for (const int unit : reader.damaged_slots()) {
    found.damage.push_back(
        fmt::format("the journal entry of unit {} ({}) is damaged; run the sweep again to compute "
                    "it anew",
                    unit, to_hex(reader.layout().units[static_cast<size_t>(unit)].id)));
  }
  const auto journal = reader.journal();
  found.units = std::ssize(journal);
  Sha256 digest;
  for (int unit = 0; unit < std::ssize(journal); ++unit) {
    check_unit(reader, unit, journal[static_cast<size_t>(unit)], digest, found);
  }
  check_attempts(reader, found);
  check_log(path, reader, journal, found);
  found.digest = digest.hex_digest();
  return found;
}

void require_whole_units(const ResultsReader& reader, const std::string& path, int run) {
  std::set<int> damaged;
  const auto& units = reader.layout().units;
  const auto is_wanted = [&](int unit) {
    return run < 0 || units[static_cast<size_t>(unit)].run == run;
  };
  for (const int unit : reader.damaged_slots()) {
    if (is_wanted(unit)) damaged.insert(unit);
  }
  const auto journal = reader.journal();
  for (int unit = 0; unit < std::ssize(journal); ++unit) {
    const JournalEntry& entry = journal[static_cast<size_t>(unit)];
    if (entry.state == UnitState::done && is_wanted(unit) && !reader.payload_matches(unit, entry)) {
      damaged.insert(unit);
    }
  }
  auto with_log = journal;
  if (overlay_log(path, reader.layout(), with_log) > 0) {
    spdlog::warn(
        "{} holds units that are not in the file yet and are left out; 'mechsweep merge "
        "{}' puts them there",
        log_folder(path), path);
  }
  if (damaged.empty()) return;
  std::string names;
  size_t named = 0;
  for (const int unit : damaged) {
    if (named++ == kUnitsNamed) break;
    names += (names.empty() ? "" : ", ") + std::to_string(unit);
  }
  if (damaged.size() > kUnitsNamed) names += ", ...";
  fail(ErrorKind::input,
       "{}: {} of {} units are damaged ({}); the command that made the file computes just these "
       "anew",
       path, damaged.size(), units.size(), names);
}

}  // namespace mechsweep
