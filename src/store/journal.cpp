#include "store/journal.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "core/hash.h"
#include "store/little_endian.h"

namespace mechsweep {
namespace {

// Byte offsets within a slot; docs/results-file.md has the same table.
constexpr size_t kStateAt = 0;
constexpr size_t kAttemptAt = 4;
constexpr size_t kRankAt = 8;
constexpr size_t kPayloadCrcAt = 12;
constexpr size_t kSecondsAt = 16;
constexpr size_t kPayloadBytesAt = 24;
constexpr size_t kFinishedAt = 32;
constexpr size_t kCrashesAt = 40;
constexpr size_t kSlotCrcAt = 60;

}  // namespace

JournalSlot encode_slot(const JournalEntry& entry) {
  JournalSlot slot{};
  slot[kStateAt] = static_cast<uint8_t>(entry.state);
  put_number(slot, kAttemptAt, entry.attempt);
  put_number(slot, kRankAt, entry.rank);
  put_number(slot, kPayloadCrcAt, entry.payload_crc);
  put_number(slot, kSecondsAt, std::bit_cast<uint64_t>(entry.seconds));
  put_number(slot, kPayloadBytesAt, entry.payload_bytes);
  put_number(slot, kFinishedAt, static_cast<uint64_t>(entry.finished_unix_s));
  put_number(slot, kCrashesAt, entry.crashes);
  put_number(slot, kSlotCrcAt, crc32c(std::span(slot).first(kSlotCrcAt)));
  return slot;
}

JournalEntry decode_slot(std::span<const uint8_t> slot) {
  ensure(slot.size() == kJournalSlotBytes, "a journal slot has 64 bytes");
  // Sixty zeros have a CRC that is not zero, so an untouched slot fails here too.
  if (crc32c(slot.first(kSlotCrcAt)) != take_number<uint32_t>(slot, kSlotCrcAt)) return {};
  if (slot[kStateAt] > static_cast<uint8_t>(UnitState::skipped)) return {};
  JournalEntry entry;
  entry.state = static_cast<UnitState>(slot[kStateAt]);
  entry.attempt = take_number<uint32_t>(slot, kAttemptAt);
  entry.rank = take_number<uint32_t>(slot, kRankAt);
  entry.payload_crc = take_number<uint32_t>(slot, kPayloadCrcAt);
  entry.seconds = std::bit_cast<double>(take_number<uint64_t>(slot, kSecondsAt));
  entry.payload_bytes = take_number<uint64_t>(slot, kPayloadBytesAt);
  entry.finished_unix_s = static_cast<int64_t>(take_number<uint64_t>(slot, kFinishedAt));
  entry.crashes = take_number<uint32_t>(slot, kCrashesAt);
  return entry;
}

bool is_damaged_slot(std::span<const uint8_t> slot) {
  if (std::all_of(slot.begin(), slot.end(), [](uint8_t byte) { return byte == 0; })) return false;
  return crc32c(slot.first(kSlotCrcAt)) != take_number<uint32_t>(slot, kSlotCrcAt) ||
         slot[kStateAt] > static_cast<uint8_t>(UnitState::skipped);
}

}  // namespace mechsweep
