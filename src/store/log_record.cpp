#include "store/log_record.h"

#include <algorithm>

#include "core/hash.h"
#include "store/little_endian.h"

namespace mechsweep {
namespace {

// Byte offsets within a header; docs/results-file.md has the same table.
constexpr size_t kKeyAt = 16;
constexpr size_t kUnitAt = 48;
constexpr size_t kSlotAt = 80;
constexpr size_t kPayloadBytesAt = 144;
constexpr size_t kHeaderCrcAt = 156;

void put_bytes(std::span<uint8_t> out, size_t at, std::span<const uint8_t> bytes) {
  std::copy(bytes.begin(), bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
}

std::span<const uint8_t> magic_bytes() {
  return {reinterpret_cast<const uint8_t*>(kLogMagic.data()), kLogMagic.size()};
}

}  // namespace

std::array<uint8_t, kLogHeaderBytes> encode_log_header(const LogHeader& header) {
  std::array<uint8_t, kLogHeaderBytes> bytes{};
  put_bytes(bytes, 0, magic_bytes());
  put_bytes(bytes, kKeyAt, header.key);
  put_bytes(bytes, kUnitAt, header.unit);
  put_bytes(bytes, kSlotAt, encode_slot(header.entry));
  put_number(bytes, kPayloadBytesAt, header.payload_bytes);
  put_number(bytes, kHeaderCrcAt, crc32c(std::span(bytes).first(kHeaderCrcAt)));
  return bytes;
}

std::optional<LogHeader> decode_log_header(std::span<const uint8_t> bytes) {
  if (std::ssize(bytes) < kLogHeaderBytes) return std::nullopt;
  const auto magic = magic_bytes();
  if (!std::equal(magic.begin(), magic.end(), bytes.begin())) return std::nullopt;
  if (crc32c(bytes.first(kHeaderCrcAt)) != take_number<uint32_t>(bytes, kHeaderCrcAt))
    return std::nullopt;
  LogHeader header;
  std::copy_n(bytes.begin() + kKeyAt, header.key.size(), header.key.begin());
  std::copy_n(bytes.begin() + kUnitAt, header.unit.size(), header.unit.begin());
  header.entry = decode_slot(bytes.subspan(kSlotAt, kJournalSlotBytes));
  header.payload_bytes = take_number<uint64_t>(bytes, kPayloadBytesAt);
  const bool is_done = header.entry.state == UnitState::done;
  if (header.entry.state == UnitState::empty) return std::nullopt;
  if (header.payload_bytes != (is_done ? header.entry.payload_bytes : 0)) return std::nullopt;
  return header;
}

std::array<uint8_t, 32> log_key(const FileLayout& layout) {
  Sha256 hash;
  hash.update(layout.attributes.value("key", ""));
  return hash.digest();
}

}  // namespace mechsweep
