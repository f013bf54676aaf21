#include "store/journal.h"

#include <gtest/gtest.h>

#include <vector>

namespace mechsweep {
namespace {

JournalEntry full_entry() {
  JournalEntry entry;
  entry.state = UnitState::crashed;
  entry.attempt = 0x01020304;
  entry.rank = 0x0A0B0C0D;
  entry.seconds = 1.5;
  entry.payload_crc = 0xDEADBEEF;
  entry.payload_bytes = 0x1122334455667788;
  entry.finished_unix_s = -2;
  return entry;
}

/// CRC-32C bit by bit from its polynomial (RFC 3720, B.4).
uint32_t slow_crc32c(const uint8_t* bytes, size_t count) {
  uint32_t crc = 0xFFFFFFFF;
  for (size_t i = 0; i < count; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

TEST(Journal, SlotHasTheDocumentedBytes) {
  std::vector<uint8_t> expected{3,    0,    0,    0,    4, 3, 2, 1, 0xD, 0xC, 0xB,  0xA,
                                0xEF, 0xBE, 0xAD, 0xDE, 0, 0, 0, 0, 0,   0,   0xF8, 0x3F};
  for (const int byte : {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11}) {
    expected.push_back(static_cast<uint8_t>(byte));
  }
  expected.push_back(0xFE);
  expected.resize(40, 0xFF);
  expected.resize(60, 0);
  const uint32_t crc = slow_crc32c(expected.data(), 60);
  for (int i = 0; i < 4; ++i) expected.push_back(static_cast<uint8_t>(crc >> (8 * i)));
  const JournalSlot slot = encode_slot(full_entry());
  EXPECT_EQ(std::vector<uint8_t>(slot.begin(), slot.end()), expected);
}

TEST(Journal, EntrySurvivesARoundTrip) {
  for (int state = 0; state <= 5; ++state) {
    JournalEntry entry = full_entry();
    entry.state = static_cast<UnitState>(state);
    EXPECT_EQ(decode_slot(encode_slot(entry)), entry);
  }
}

TEST(Journal, EveryFlippedBitReadsAsEmpty) {
  const JournalSlot good = encode_slot(full_entry());
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    JournalSlot bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    EXPECT_EQ(decode_slot(bad), JournalEntry{}) << "bit " << bit;
  }
}

TEST(Journal, TornAndUntouchedSlotsReadAsEmpty) {
  EXPECT_EQ(decode_slot(JournalSlot{}), JournalEntry{});
  const JournalSlot good = encode_slot(full_entry());
  for (size_t written = 1; written < good.size(); ++written) {
    JournalSlot torn{};
    std::copy_n(good.begin(), written, torn.begin());
    EXPECT_EQ(decode_slot(torn), JournalEntry{}) << written << " bytes";
  }
}

TEST(Journal, StateOfALaterVersionReadsAsEmpty) {
  JournalSlot slot = encode_slot(full_entry());
  slot[0] = 6;
  const uint32_t crc = slow_crc32c(slot.data(), 60);
  for (size_t i = 0; i < 4; ++i) slot[60 + i] = static_cast<uint8_t>(crc >> (8 * i));
  EXPECT_EQ(decode_slot(slot), JournalEntry{});
}

}  // namespace
}  // namespace mechsweep
