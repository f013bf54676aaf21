#include "core/hash.h"

#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace mechsweep {
namespace {

std::span<const uint8_t> text_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// FIPS 180-4 examples (NIST, "Secure Hashing", SHA-256) and the empty message.
TEST(Sha256, MatchesPublishedVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheHashOfTheWhole) {
  Sha256 hash;
  hash.update("a");
  hash.update("");
  hash.update(text_bytes("bc"));
  EXPECT_EQ(hash.hex_digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, AMovedHashGoesOn) {
  Sha256 first;
  first.update("ab");
  Sha256 second = std::move(first);
  second.update("c");
  EXPECT_EQ(to_hex(second.digest()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
TEST(Crc32c, MatchesPublishedVectors) {
  EXPECT_EQ(crc32c(text_bytes("123456789")), 0xe3069283U);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0x00)), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0xff)), 0x62a8ab43U);
  std::vector<uint8_t> ascending(32);
  std::iota(ascending.begin(), ascending.end(), uint8_t{0});
  EXPECT_EQ(crc32c(ascending), 0x46dd794eU);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(ascending.rbegin(), ascending.rend())), 0x113fdb5cU);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, RunsOverCutsAtEveryPlace) {
  const std::string text = "123456789";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const auto bytes = text_bytes(text);
    EXPECT_EQ(crc32c(bytes.subspan(cut), crc32c(bytes.first(cut))), 0xe3069283U) << cut;
  }
}

// The polynomial's bit-by-bit definition, at every length up to 70 and every alignment of 8.
TEST(Crc32c, AgreesWithTheDefinitionAtEveryLengthAndAlignment) {
  std::vector<uint8_t> bytes(80);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 11);
  for (size_t start = 0; start < 8; ++start)
    for (size_t length = 0; length <= 70; ++length) {
      uint32_t expected = 0xffffffff;
      for (size_t i = 0; i < length; ++i) {
        expected ^= bytes[start + i];
        for (int bit = 0; bit < 8; ++bit)
          expected = (expected >> 1) ^ ((expected & 1) != 0 ? 0x82f63b78U : 0U);
      }
      EXPECT_EQ(crc32c(std::span(bytes).subspan(start, length)), ~expected);
    }
}

TEST(ToHex, WritesTwoDigitsAByte) {
  EXPECT_EQ(to_hex(std::vector<uint8_t>{0x00, 0x0f, 0xa5, 0xff}), "000fa5ff");
}

TEST(BytesOf, SeesTheValuesAsStored) {
  const std::vector<uint16_t> values{0x0201, 0x0403};
  EXPECT_EQ(to_hex(bytes_of(std::span(values))), "01020304");  // little-endian machines only
}

}  // namespace
}  // namespace mechsweep
