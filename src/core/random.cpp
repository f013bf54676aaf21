#include "core/random.h"

#include <numeric>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/hash.h"

namespace mechsweep {

std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMultiplier0 * c[0];
    const uint64_t p1 = kMultiplier1 * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return c;
}

RandomStream::RandomStream(uint64_t seed, std::string_view purpose, uint64_t index)
    : index_(index) {
  // Hashing seed and purpose together gives every purpose its own key.
  Sha256 hash;
  std::array<uint8_t, 8> seed_bytes{};
  for (int i = 0; i < 8; ++i) seed_bytes[i] = static_cast<uint8_t>(seed >> (8 * i));
  hash.update(seed_bytes);
  hash.update(purpose);
  const auto digest = hash.digest();
  for (int word = 0; word < 2; ++word)
    for (int i = 0; i < 4; ++i)
      key_[word] |= static_cast<uint32_t>(digest[4 * word + i]) << (8 * i);
}

uint32_t RandomStream::next_u32() {
  if (used_ == 4) {
    words_ = philox4x32_10({static_cast<uint32_t>(block_), static_cast<uint32_t>(block_ >> 32),
                            static_cast<uint32_t>(index_), static_cast<uint32_t>(index_ >> 32)},
                           key_);
    ++block_;
    used_ = 0;
  }
  return words_[used_++];
}

uint64_t RandomStream::next_u64() {
  const uint64_t low = next_u32();
  return low | static_cast<uint64_t>(next_u32()) << 32;
}

uint32_t RandomStream::below(uint32_t bound) {
  ensure(bound >= 1, "a random number below 0 was asked for");
  uint64_t product = static_cast<uint64_t>(next_u32()) * bound;
  if (static_cast<uint32_t>(product) < bound) {
    const uint32_t threshold = (0U - bound) % bound;
    while (static_cast<uint32_t>(product) < threshold)
      product = static_cast<uint64_t>(next_u32()) * bound;
  }
  return static_cast<uint32_t>(product >> 32);
}

double RandomStream::uniform() {
  return static_cast<double>(next_u64() >> 11) * 0x1.0p-53;
}

std::vector<uint32_t> RandomStream::sample_without_replacement(uint32_t population,
                                                               uint32_t count) {
  ensure(count <= population, "more distinct numbers were asked for than there are");
  // Fisher and Yates on a virtual array: only the touched places are stored.
  std::unordered_map<uint32_t, uint32_t> moved;
  std::vector<uint32_t> drawn(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t j = i + below(population - i);
    const auto at_j = moved.find(j);
    drawn[i] = at_j == moved.end() ? j : at_j->second;
    const auto at_i = moved.find(i);
    moved[j] = at_i == moved.end() ? i : at_i->second;
  }
  return drawn;
}

std::vector<uint32_t> RandomStream::permutation(uint32_t n) {
  return sample_without_replacement(n, n);
}

}  // namespace mechsweep
