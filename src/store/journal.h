#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace mechsweep {

/// What became of a unit. Only `done` counts as computed.
enum class UnitState : uint8_t {
  empty = 0,
  done = 1,
  failed = 2,
  crashed = 3,
  quarantined = 4,
  skipped = 5
};

/// One slot of /journal: 64 bytes, little-endian, the last four a CRC-32C of the first sixty. A
/// slot whose CRC fails reads as empty, so a torn write is only a unit to be done again.
struct JournalEntry {
  UnitState state = UnitState::empty;
  uint32_t attempt = 0;      ///< counts from 1
  uint32_t rank = 0;         ///< rank that wrote it, for people; never part of a result
  double seconds = 0.0;      ///< wall time of computing the unit
  uint32_t payload_crc = 0;  ///< CRC-32C of the payload as written
  uint64_t payload_bytes = 0;
  int64_t finished_unix_s = 0;
  /// How often a process died of a fatal signal of its own while it computed the unit.
  uint32_t crashes = 0;
  bool operator==(const JournalEntry&) const = default;
};

/// A unit that has crashed so often is quarantined: later launches leave it out.
inline constexpr uint32_t kCrashesToQuarantine = 3;

inline constexpr int64_t kJournalSlotBytes = 64;
using JournalSlot = std::array<uint8_t, kJournalSlotBytes>;

JournalSlot encode_slot(const JournalEntry& entry);
/// An all-zero slot, or one whose CRC fails, decodes to an empty entry.
JournalEntry decode_slot(std::span<const uint8_t> slot);
/// Whether something was written there that is no entry (any more).
bool is_damaged_slot(std::span<const uint8_t> slot);

}  // namespace mechsweep
