#include "core/error.h"
#include "core/hash.h"
#include "store/metadata_copy.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

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

}  // namespace

Verification verify_file(const std::string& path) {
  Verification found;
  const MetadataCheck metadata = check_metadata(path);
  found.damage = metadata.damage;
  if (!metadata.has_copy) {
    found.notes.push_back(path + " has no STEM.meta beside it, so its metadata were not checked");
  }
  // HDF5 must not see damaged metadata: its reader can hang or crash on them.
  if (!found.damage.empty()) return found;
  const ResultsReader reader(path);
  const auto journal = reader.journal();
  found.units = std::ssize(journal);
  Sha256 digest;
  for (int unit = 0; unit < std::ssize(journal); ++unit) {
    check_unit(reader, unit, journal[static_cast<size_t>(unit)], digest, found);
  }
  found.digest = digest.hex_digest();
  return found;
}

}  // namespace mechsweep
