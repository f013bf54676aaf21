#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mechsweep {

/// SHA-256 (FIPS 180-4) over any number of pieces, computed by OpenSSL.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const uint8_t> bytes);
  void update(std::string_view text);
  /// Ends the hash; no further update is allowed.
  std::array<uint8_t, 32> digest();
  /// The digest as 64 lower-case hexadecimal digits.
  std::string hex_digest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Hexadecimal SHA-256 of a text.
std::string sha256_hex(std::string_view text);

/// Bytes as lower-case hexadecimal digits.
std::string to_hex(std::span<const uint8_t> bytes);

/// CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected, as in RFC 3720 B.4). Pass an earlier
/// result as `crc` to go on with further bytes.
uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t crc = 0);

/// The bytes of an array of plain values.
template <typename T>
std::span<const uint8_t> bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

}  // namespace mechsweep
