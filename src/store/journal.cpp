#include "store/journal.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "core/hash.h"

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

template <typename T>
void put(JournalSlot& slot, size_t at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    slot[at + i] = static_cast<uint8_t>((value >> (8 * i)) & 0xFF);
  }
}

template <typename T>
T take(std::span<const uint8_t> slot, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(slot[at + i]) << (8 * i);
  return value;
}

}  // namespace

JournalSlot encode_slot(const JournalEntry& entry) {
  JournalSlot slot{};
  slot[kStateAt] = static_cast<uint8_t>(entry.state);
  put(slot, kAttemptAt, entry.attempt);
  put(slot, kRankAt, entry.rank);
  put(slot, kPayloadCrcAt, entry.payload_crc);
  put(slot, kSecondsAt, std::bit_cast<uint64_t>(entry.seconds));
  put(slot, kPayloadBytesAt, entry.payload_bytes);
  put(slot, kFinishedAt, static_cast<uint64_t>(entry.finished_unix_s));
  put(slot, kCrashesAt, entry.crashes);
  put(slot, kSlotCrcAt, crc32c(std::span(slot).first(kSlotCrcAt)));
  return slot;
}

JournalEntry decode_slot(std::span<const uint8_t> slot) {
  ensure(slot.size() == kJournalSlotBytes, "a journal slot has 64 bytes");
  // Sixty zeros have a CRC that is not zero, so an untouched slot fails here too.
  if (crc32c(slot.first(kSlotCrcAt)) != take<uint32_t>(slot, kSlotCrcAt)) return {};
  if (slot[kStateAt] > static_cast<uint8_t>(UnitState::skipped)) return {};
  JournalEntry entry;
  entry.state = static_cast<UnitState>(slot[kStateAt]);
  entry.attempt = take<uint32_t>(slot, kAttemptAt);
  entry.rank = take<uint32_t>(slot, kRankAt);
  entry.payload_crc = take<uint32_t>(slot, kPayloadCrcAt);
  entry.seconds = std::bit_cast<double>(take<uint64_t>(slot, kSecondsAt));
  entry.payload_bytes = take<uint64_t>(slot, kPayloadBytesAt);
  entry.finished_unix_s = static_cast<int64_t>(take<uint64_t>(slot, kFinishedAt));
  entry.crashes = take<uint32_t>(slot, kCrashesAt);
  return entry;
}

bool is_damaged_slot(std::span<const uint8_t> slot) {
  if (std::all_of(slot.begin(), slot.end(), [](uint8_t byte) { return byte == 0; })) return false;
  return crc32c(slot.first(kSlotCrcAt)) != take<uint32_t>(slot, kSlotCrcAt) ||
         slot[kStateAt] > static_cast<uint8_t>(UnitState::skipped);
}

}  // namespace mechsweep
