#include "model/bpe.h"

#include <queue>
#include <tuple>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

constexpr int32_t kNone = -1;

struct ByteAlphabet {
  std::array<std::string, 256> symbols;
  std::array<int, 0x144> bytes{};  ///< byte of a code point, or -1

  ByteAlphabet() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (size_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char32_t point = printable ? static_cast<char32_t>(byte) : next++;
      if (point < 0x80) {
        symbols[byte] = std::string(1, static_cast<char>(point));
      } else {
        symbols[byte] = {static_cast<char>(0xC0 | (point >> 6)),
                         static_cast<char>(0x80 | (point & 0x3F))};
      }
      bytes[point] = static_cast<int>(byte);
    }
  }
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

}  // namespace

const std::string& byte_symbol(uint8_t byte) {
  return alphabet().symbols[byte];
}

std::optional<std::string> bytes_of_symbols(std::string_view token) {
  if (!is_utf8(token)) return std::nullopt;
  std::string bytes;
  for (size_t offset = 0; offset < token.size();) {
    const CodePoint point = code_point_at(token, offset);
    if (point.value >= alphabet().bytes.size() || alphabet().bytes[point.value] < 0) {
      return std::nullopt;
    }
    bytes += static_cast<char>(alphabet().bytes[point.value]);
    offset += static_cast<size_t>(point.length);
  }
  return bytes;
}

/// A token of the piece so far: a doubly linked list over bytes, in one array.
struct BytePairEncoder::Symbol {
  int32_t id = kNone;
  Span bytes;  ///< empty once the symbol was merged into its left neighbour
  int32_t previous = kNone;
  int32_t next = kNone;
};

BytePairEncoder::BytePairEncoder(BpeData data) : data_(std::move(data)) {
  for (size_t byte = 0; byte < 256; ++byte) {
    auto found = data_.ids.find(byte_symbol(static_cast<uint8_t>(byte)));
    byte_ids_[byte] = found == data_.ids.end() ? kNone : found->second;
  }
  add_merges(data_.merges);
  data_.merges = {};
}

void BytePairEncoder::add_merges(const std::vector<std::pair<std::string, std::string>>& merges) {
  merges_.reserve(merges.size());
  int32_t rank = 0;
  for (const auto& [left, right] : merges) {
    auto id_of = [&](const std::string& token) {
      auto found = data_.ids.find(token);
      if (found == data_.ids.end()) {
        fail(ErrorKind::input,
             "merge {} ({} and {}) needs the token {}, which the vocabulary does not have; get the "
             "tokenizer again",
             rank, show_text(left), show_text(right), show_text(token));
      }
      return found->second;
    };
    const uint64_t key = pair_key(id_of(left), id_of(right));
    if (!merges_.emplace(key, Merge{rank, id_of(left + right)}).second) {
      fail(ErrorKind::input, "merge {} ({} and {}) stands twice; get the tokenizer again", rank,
           show_text(left), show_text(right));
    }
    ++rank;
  }
}

const BytePairEncoder::Merge* BytePairEncoder::find_merge(const std::vector<Symbol>& symbols,
                                                          int32_t left) const {
  if (left == kNone || symbols[static_cast<size_t>(left)].next == kNone) return nullptr;
  const Symbol& symbol = symbols[static_cast<size_t>(left)];
  const Symbol& right = symbols[static_cast<size_t>(symbol.next)];
  auto found = merges_.find(pair_key(symbol.id, right.id));
  return found == merges_.end() ? nullptr : &found->second;
}

std::vector<BytePairEncoder::Symbol> BytePairEncoder::byte_symbols(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  bool unknown_before = false;
  for (size_t i = 0; i < piece.size(); ++i) {
    const auto byte = static_cast<uint8_t>(piece[i]);
    const auto begin = static_cast<int32_t>(i);
    const bool unknown = byte_ids_[byte] == kNone;
    if (unknown && !data_.unknown_token) {
      fail(ErrorKind::input,
           "the tokenizer has no token for byte 0x{:02X} in the piece of text {} and names no "
           "unknown token; remove that character",
           byte, show_text(piece));
    }
    if (unknown && unknown_before && data_.fuse_unknown) {
      symbols.back().bytes.end = begin + 1;
      continue;
    }
    Symbol symbol;
    symbol.id = unknown ? *data_.unknown_token : byte_ids_[byte];
    symbol.bytes = {begin, begin + 1};
    symbol.previous = static_cast<int32_t>(symbols.size()) - 1;
    if (!symbols.empty()) symbols.back().next = static_cast<int32_t>(symbols.size());
    symbols.push_back(symbol);
    unknown_before = unknown;
  }
  return symbols;
}

void BytePairEncoder::merge_all(std::vector<Symbol>& symbols) const {
  using Candidate = std::tuple<int32_t, int32_t, int32_t>;  // rank, position, merged id
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  auto offer = [&](int32_t left) {
    if (const Merge* merge = find_merge(symbols, left)) queue.emplace(merge->rank, left, merge->id);
  };
  for (size_t i = 0; i < symbols.size(); ++i) offer(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const auto [rank, position, id] = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(position)];
    if (left.bytes.begin == left.bytes.end) continue;
    // An entry is stale when a neighbour has changed since and the pair merges to something else.
    const Merge* merge = find_merge(symbols, position);
    if (merge == nullptr || merge->id != id) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = id;
    left.bytes.end = right.bytes.end;
    right.bytes.begin = right.bytes.end;
    left.next = right.next;
    if (left.next != kNone) symbols[static_cast<size_t>(left.next)].previous = position;
    offer(left.previous);
    offer(position);
  }
}

void BytePairEncoder::encode(std::string_view piece, Encoding& out) const {
  if (data_.ignore_merges) {
    std::string token;
    for (char byte : piece) token += byte_symbol(static_cast<uint8_t>(byte));
    auto found = data_.ids.find(token);
    if (found != data_.ids.end()) {
      out.ids.push_back(found->second);
      out.bytes.push_back({0, static_cast<int32_t>(piece.size())});
      return;
    }
  }
  std::vector<Symbol> symbols = byte_symbols(piece);
  merge_all(symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.bytes.begin == symbol.bytes.end) continue;
    out.ids.push_back(symbol.id);
    out.bytes.push_back(symbol.bytes);
  }
}

}  // namespace mechsweep
