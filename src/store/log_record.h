#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "store/file_layout.h"
#include "store/journal.h"

namespace mechsweep {

/// What stands in front of a unit's payload in a segment of the log; docs/results-file.md has the
/// table of bytes. Segments of another sweep are told by the key, so none is ever folded into the
/// wrong file.
struct LogHeader {
  std::array<uint8_t, 32> key{};   ///< log_key() of the sweep
  std::array<uint8_t, 32> unit{};  ///< the unit's id
  JournalEntry entry;              ///< as it will stand in /journal; never `empty`
  uint64_t payload_bytes = 0;      ///< that follow; 0 unless the unit is done
  bool operator==(const LogHeader&) const = default;
};

inline constexpr std::string_view kLogMagic = "mechsweep-unit1\n";
inline constexpr int64_t kLogHeaderBytes = 160;

std::array<uint8_t, kLogHeaderBytes> encode_log_header(const LogHeader& header);
/// Empty when the bytes are no whole header, or one of its checksums does not match.
std::optional<LogHeader> decode_log_header(std::span<const uint8_t> bytes);

/// SHA-256 of the layout's attribute `key`.
std::array<uint8_t, 32> log_key(const FileLayout& layout);

}  // namespace mechsweep
