#include "model/bpe.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

constexpr int32_t kNone = -1;
/// What SentencePiece writes for a space.
constexpr std::string_view kSpaceSign = "\u2581";

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

/// The last code point of valid UTF-8 that is not empty.
char32_t last_code_point(std::string_view text) {
  size_t at = text.size() - 1;
  while ((static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return code_point_at(text, at).value;
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

std::string byte_token(uint8_t byte) {
  return fmt::format("<0x{:02X}>", byte);
}

/// A token of the piece so far: a doubly linked list over bytes, in one array.
struct BytePairEncoder::Symbol {
  int32_t id = kNone;
  Span bytes;  ///< empty once the symbol was merged into its left neighbour
  int32_t previous = kNone;
  int32_t next = kNone;
};

BytePairEncoder::BytePairEncoder(BpeData data) : data_(std::move(data)) {
  add_symbols();
  add_merges(data_.merges);
  data_.merges = {};
  find_joints();
}

void BytePairEncoder::add_symbols() {
  byte_ids_.fill(kNone);
  for (size_t i = 0; i < byte_ids_.size() && (data_.byte_level || data_.byte_fallback); ++i) {
    const auto byte = static_cast<uint8_t>(i);
    byte_ids_[i] = find_token(data_.ids, data_.byte_level ? byte_symbol(byte) : byte_token(byte));
    if (byte_ids_[i] == kNone && !data_.byte_level) {
      fail(ErrorKind::input,
           "the tokenizer falls back to bytes, but its vocabulary has no token {}; get it again",
           byte_token(byte));
    }
  }
  if (data_.byte_level) return;
  for (const auto& [token, id] : data_.ids) {
    check_utf8(token, fmt::format("the token with id {}", id));
    if (token.empty()) continue;
    const CodePoint first = code_point_at(token, 0);
    if (static_cast<size_t>(first.length) == token.size()) character_ids_[first.value] = id;
  }
}

void BytePairEncoder::add_merges(const std::vector<std::pair<std::string, std::string>>& merges) {
  merges_.reserve(merges.size());
  uint64_t rank = 0;
  std::string whole;
  for (const auto& [left, right] : merges) {
    auto id_of = [&](const std::string& token) {
      const int32_t id = find_token(data_.ids, token);
      if (id == kNone) {
        fail(ErrorKind::input,
             "merge {} ({} and {}) needs the token {}, which the vocabulary does not have; get the "
             "tokenizer again",
             rank, show_text(left), show_text(right), show_text(token));
      }
      return id;
    };
    const uint64_t key = pair_key(id_of(left), id_of(right));
    whole.assign(left).append(right);
    if (!merges_.emplace(key, Merge{rank, id_of(whole)}).second) {
      fail(ErrorKind::input, "merge {} ({} and {}) stands twice; get the tokenizer again", rank,
           show_text(left), show_text(right));
    }
    ++rank;
  }
}

void BytePairEncoder::find_joints() {
  if (data_.byte_level) return;
  for (const auto& [token, id] : data_.ids) {
    longest_token_ = std::max(longest_token_, token.size());
    for (size_t at = token.find(kSpaceSign, 1); at != std::string::npos;
         at = token.find(kSpaceSign, at + 1)) {
      before_space_.insert(last_code_point(std::string_view(token).substr(0, at)));
    }
  }
}

std::optional<BytePairEncoder::Merge> BytePairEncoder::find_merge(std::string_view piece,
                                                                  const Symbols& symbols,
                                                                  int32_t left) const {
  if (left == kNone || symbols[static_cast<size_t>(left)].next == kNone) return std::nullopt;
  const Symbol& symbol = symbols[static_cast<size_t>(left)];
  const Symbol& right = symbols[static_cast<size_t>(symbol.next)];
  if (data_.ranks.empty()) {
    auto found = merges_.find(pair_key(symbol.id, right.id));
    return found == merges_.end() ? std::nullopt : std::optional(found->second);
  }
  const std::string_view text = part_of(piece, {symbol.bytes.begin, right.bytes.end});
  if (text.size() > longest_token_) return std::nullopt;
  const int32_t id = find_token(data_.ids, text);
  if (id == kNone || data_.ranks[static_cast<size_t>(id)] < 0) return std::nullopt;
  const auto left_size = static_cast<uint32_t>(symbol.bytes.end - symbol.bytes.begin);
  const auto rank = static_cast<uint64_t>(data_.ranks[static_cast<size_t>(id)]);
  return Merge{rank << 32 | (UINT32_MAX - left_size), id};
}

void BytePairEncoder::add_symbol(int32_t id, Span bytes, Symbols& symbols) const {
  Symbol symbol;
  symbol.id = id;
  symbol.bytes = bytes;
  symbol.previous = static_cast<int32_t>(symbols.size()) - 1;
  if (!symbols.empty()) symbols.back().next = static_cast<int32_t>(symbols.size());
  symbols.push_back(symbol);
}

void BytePairEncoder::add_bytes(std::string_view piece, Symbols& symbols) const {
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
    add_symbol(unknown ? *data_.unknown_token : byte_ids_[byte], {begin, begin + 1}, symbols);
    unknown_before = unknown;
  }
}

void BytePairEncoder::add_characters(std::string_view piece, Symbols& symbols) const {
  bool unknown_before = false;
  for (int32_t begin = 0; begin < static_cast<int32_t>(piece.size());) {
    const CodePoint point = code_point_at(piece, static_cast<size_t>(begin));
    const Span bytes{begin, begin + point.length};
    begin = bytes.end;
    auto found = character_ids_.find(point.value);
    if (found != character_ids_.end()) {
      add_symbol(found->second, bytes, symbols);
      unknown_before = false;
      continue;
    }
    if (data_.byte_fallback) {
      for (int32_t at = bytes.begin; at < bytes.end; ++at) {
        const auto byte = static_cast<uint8_t>(piece[static_cast<size_t>(at)]);
        add_symbol(byte_ids_[byte], {at, at + 1}, symbols);
      }
      continue;
    }
    if (!data_.unknown_token) {
      fail(ErrorKind::input,
           "the tokenizer has no token for the character {} and names no unknown token; remove "
           "that character",
           show_text(part_of(piece, bytes)));
    }
    if (unknown_before && data_.fuse_unknown) {
      symbols.back().bytes.end = bytes.end;
    } else {
      add_symbol(*data_.unknown_token, bytes, symbols);
    }
    unknown_before = true;
  }
}

void BytePairEncoder::merge_all(std::string_view piece, Symbols& symbols) const {
  using Candidate = std::tuple<uint64_t, int32_t, int32_t>;  // rank, position, merged id
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  auto offer = [&](int32_t left) {
    if (const auto merge = find_merge(piece, symbols, left)) {
      queue.emplace(merge->rank, left, merge->id);
    }
  };
  for (size_t i = 0; i < symbols.size(); ++i) offer(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const auto [rank, position, id] = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(position)];
    if (left.bytes.begin == left.bytes.end) continue;
    // An entry is stale when a neighbour has changed since and the pair merges to something else.
    const auto merge = find_merge(piece, symbols, position);
    if (!merge || merge->id != id) continue;
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

/// Appends the tokens of a part of the piece that starts at `offset` of it.
void BytePairEncoder::encode_part(std::string_view part, int32_t offset, Encoding& out) const {
  Symbols symbols;
  symbols.reserve(part.size());
  if (data_.byte_level) {
    add_bytes(part, symbols);
  } else {
    add_characters(part, symbols);
  }
  merge_all(part, symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.bytes.begin == symbol.bytes.end) continue;
    out.ids.push_back(symbol.id);
    out.bytes.push_back({symbol.bytes.begin + offset, symbol.bytes.end + offset});
  }
}

/// The next place behind `from` that nothing is merged across.
size_t BytePairEncoder::next_cut(std::string_view piece, size_t from) const {
  if (data_.byte_level) return piece.size();
  for (size_t at = piece.find(kSpaceSign, from + 1); at != std::string_view::npos;
       at = piece.find(kSpaceSign, at + 1)) {
    const std::string_view before = piece.substr(0, at);
    // Unknown characters may become one token, whatever they are.
    const char32_t last = last_code_point(before);
    if (before_space_.count(last) == 0 && character_ids_.count(last) != 0) return at;
  }
  return piece.size();
}

void BytePairEncoder::encode(std::string_view piece, Encoding& out) const {
  if (data_.ignore_merges) {
    std::string token(piece);
    if (data_.byte_level) {
      token.clear();
      for (char byte : piece) token += byte_symbol(static_cast<uint8_t>(byte));
    }
    const int32_t id = find_token(data_.ids, token);
    if (id != kNone) {
      out.ids.push_back(id);
      out.bytes.push_back({0, static_cast<int32_t>(piece.size())});
      return;
    }
  }
  for (size_t begin = 0; begin < piece.size();) {
    const size_t end = next_cut(piece, begin);
    encode_part(piece.substr(begin, end - begin), static_cast<int32_t>(begin), out);
    begin = end;
  }
}

}  // namespace mechsweep
