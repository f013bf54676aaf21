#include "model/byte_level_tokenizer.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

/// Larger than any vocabulary in use; keeps damaged ids from asking for all memory.
constexpr int32_t kMostTokens = 1 << 22;

class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(ByteLevelParts parts);

  [[nodiscard]] Encoding encode(std::string_view text) const override;
  [[nodiscard]] std::vector<int32_t> prefix() const override { return prefix_; }
  [[nodiscard]] std::string decode(const std::vector<int32_t>& ids) const override;
  [[nodiscard]] int32_t vocab_size() const override { return static_cast<int32_t>(texts_.size()); }
  [[nodiscard]] int32_t bos_token() const override { return bos_; }
  [[nodiscard]] const std::vector<int32_t>& special_tokens() const override { return special_; }

 private:
  void set_text(int32_t id, const std::string& token, std::string text);
  void add_vocabulary(const ByteLevelParts& parts);
  void add_special(const std::vector<int32_t>& special);
  void check_known(int32_t id, std::string_view role) const;
  void encode_section(std::string_view text, int32_t offset, Encoding& out) const;
  void encode_normalized(std::string_view text, Encoding& out) const;

  std::vector<std::optional<std::string>> texts_;  ///< by id
  AddedTokenFinder raw_;
  AddedTokenFinder normalized_;
  Pretokenizer pretokenizer_;
  BytePairEncoder encoder_;
  bool nfc_;
  std::vector<int32_t> prefix_;
  int32_t bos_;
  std::vector<int32_t> special_;
};

AddedTokenFinder finder(const ByteLevelParts& parts, bool normalized) {
  std::vector<AddedToken> tokens;
  for (const AddedToken& token : parts.added) {
    if (token.content.empty()) {
      fail(ErrorKind::input, "the added token with id {} is empty; give it a text", token.id);
    }
    check_utf8(token.content, fmt::format("the added token with id {}", token.id));
    if (token.normalized != normalized) continue;
    tokens.push_back(token);
    if (!normalized || !parts.nfc) continue;
    const TracedText nfc = to_nfc(token.content);
    if (!nfc.begin.empty()) tokens.back().content = nfc.text;
  }
  return AddedTokenFinder(std::move(tokens));
}

ByteLevelTokenizer::ByteLevelTokenizer(ByteLevelParts parts)
    : raw_(finder(parts, false)),
      normalized_(finder(parts, true)),
      pretokenizer_(std::move(parts.pretokenizer)),
      encoder_([&] {
        add_vocabulary(parts);
        return BytePairEncoder(std::move(parts.bpe));
      }()),
      nfc_(parts.nfc),
      prefix_(std::move(parts.prefix)),
      bos_(parts.bos) {
  if (bos_ != -1) check_known(bos_, "beginning-of-sequence token");
  for (int32_t id : prefix_) check_known(id, "prefix token");
  add_special(parts.special);
}

void ByteLevelTokenizer::set_text(int32_t id, const std::string& token, std::string text) {
  if (id < 0 || id >= kMostTokens) {
    fail(ErrorKind::input, "token {} has id {}, which is not between 0 and {}", show_text(token),
         id, kMostTokens - 1);
  }
  const auto index = static_cast<size_t>(id);
  if (index >= texts_.size()) texts_.resize(index + 1);
  if (texts_[index]) {
    fail(ErrorKind::input, "id {} belongs both to token {} and to the one that reads {}", id,
         show_text(token), show_text(*texts_[index]));
  }
  texts_[index] = std::move(text);
}

void ByteLevelTokenizer::add_vocabulary(const ByteLevelParts& parts) {
  if (parts.bpe.ids.empty()) fail(ErrorKind::input, "the tokenizer's vocabulary is empty");
  for (const auto& [token, id] : parts.bpe.ids) {
    set_text(id, token, bytes_of_symbols(token).value_or(token));
  }
  std::unordered_map<std::string, int32_t> added;
  for (const AddedToken& token : parts.added) {
    if (!added.emplace(token.content, token.id).second) {
      fail(ErrorKind::input, "the added token {} is given twice", show_text(token.content));
    }
    auto found = parts.bpe.ids.find(token.content);
    if (found == parts.bpe.ids.end()) {
      set_text(token.id, token.content, token.content);
    } else if (found->second != token.id) {
      fail(ErrorKind::input, "the added token {} has id {}, but id {} in the vocabulary",
           show_text(token.content), token.id, found->second);
    } else {
      texts_[static_cast<size_t>(token.id)] = token.content;
    }
  }
}

void ByteLevelTokenizer::add_special(const std::vector<int32_t>& special) {
  for (int32_t id : special) {
    check_known(id, "special token");
    special_.push_back(id);
  }
  for (size_t id = 0; id < texts_.size(); ++id) {
    if (!texts_[id]) special_.push_back(static_cast<int32_t>(id));
  }
  std::sort(special_.begin(), special_.end());
  special_.erase(std::unique(special_.begin(), special_.end()), special_.end());
}

void ByteLevelTokenizer::check_known(int32_t id, std::string_view role) const {
  if (id < 0 || id >= vocab_size() || !texts_[static_cast<size_t>(id)]) {
    fail(ErrorKind::input, "the {} has id {}, which is not in the vocabulary of {} tokens", role,
         id, vocab_size());
  }
}

Encoding ByteLevelTokenizer::encode(std::string_view text) const {
  if (text.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    fail(ErrorKind::input, "a text of {} bytes is too long to tokenise; split it", text.size());
  }
  check_utf8(text, "the text");
  Encoding out;
  for (const Section& section : raw_.split(text)) {
    if (section.id >= 0) {
      out.ids.push_back(section.id);
      out.bytes.push_back(section.bytes);
      continue;
    }
    const auto size = static_cast<size_t>(section.bytes.end - section.bytes.begin);
    encode_section(text.substr(static_cast<size_t>(section.bytes.begin), size), section.bytes.begin,
                   out);
  }
  return out;
}

/// Appends the tokens of a text between added tokens; it starts at `offset` of the whole text.
void ByteLevelTokenizer::encode_section(std::string_view text, int32_t offset,
                                        Encoding& out) const {
  const size_t first = out.bytes.size();
  const TracedText traced = nfc_ ? to_nfc(text) : TracedText{};
  const bool changed = !traced.begin.empty();
  encode_normalized(changed ? std::string_view(traced.text) : text, out);
  for (size_t i = first; i < out.bytes.size(); ++i) {
    Span& span = out.bytes[i];
    if (changed) {
      const bool empty = span.begin == span.end;
      span.begin = traced.begin[static_cast<size_t>(span.begin)];
      span.end = empty ? span.begin : traced.end[static_cast<size_t>(span.end) - 1];
    }
    span.begin += offset;
    span.end += offset;
  }
}

/// Appends the tokens of a normalised text, with spans of its bytes.
void ByteLevelTokenizer::encode_normalized(std::string_view text, Encoding& out) const {
  for (const Section& section : normalized_.split(text)) {
    if (section.id >= 0) {
      out.ids.push_back(section.id);
      out.bytes.push_back(section.bytes);
      continue;
    }
    const auto size = static_cast<size_t>(section.bytes.end - section.bytes.begin);
    const auto part = text.substr(static_cast<size_t>(section.bytes.begin), size);
    for (const Piece& piece : pretokenizer_.split(part)) {
      const size_t first = out.bytes.size();
      const auto bytes = part.substr(static_cast<size_t>(piece.bytes.begin),
                                     static_cast<size_t>(piece.bytes.end - piece.bytes.begin));
      encoder_.encode((piece.space_before ? " " : "") + std::string(bytes), out);
      const int32_t begin = section.bytes.begin + piece.bytes.begin;
      const int32_t shift = begin - (piece.space_before ? 1 : 0);
      for (size_t i = first; i < out.bytes.size(); ++i) {
        out.bytes[i] = {std::max(begin, out.bytes[i].begin + shift), out.bytes[i].end + shift};
      }
    }
  }
}

std::string ByteLevelTokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (int32_t id : ids) {
    if (id < 0 || id >= vocab_size() || !texts_[static_cast<size_t>(id)]) {
      fail(ErrorKind::input, "token id {} is not in the vocabulary of {} tokens", id, vocab_size());
    }
    text += *texts_[static_cast<size_t>(id)];
  }
  return text;
}

}  // namespace

std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelParts parts) {
  return std::make_unique<ByteLevelTokenizer>(std::move(parts));
}

}  // namespace mechsweep
