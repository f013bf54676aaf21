#include "model/tokenizer_parts.h"

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

/// Larger than any vocabulary in use; keeps damaged ids from asking for all memory.
constexpr int32_t kMostTokens = 1 << 22;

/// Calls visit(token, id) for the model's whole vocabulary.
template <typename Visit>
void for_each_token(const TokenizerParts& parts, Visit visit) {
  if (const auto* bpe = std::get_if<BpeData>(&parts.model)) {
    for (const auto& [token, id] : bpe->ids) visit(token, id);
  } else {
    int32_t id = 0;
    for (const auto& [token, score] : std::get<UnigramData>(parts.model).pieces) {
      visit(token, id++);
    }
  }
}

/// The texts of all tokens by id.
class Vocabulary {
 public:
  explicit Vocabulary(const TokenizerParts& parts);

  [[nodiscard]] int32_t size() const { return static_cast<int32_t>(texts_.size()); }
  [[nodiscard]] bool has(int32_t id) const {
    return id >= 0 && id < size() && texts_[static_cast<size_t>(id)].has_value();
  }
  /// Throws Error{input} for an id without a token; `role` names it.
  [[nodiscard]] const std::string& text(int32_t id, std::string_view role) const;

 private:
  void set(int32_t id, std::string_view token, std::string text);
  void add(const AddedToken& token, int32_t id_in_model);

  std::vector<std::optional<std::string>> texts_;
};

Vocabulary::Vocabulary(const TokenizerParts& parts) {
  const auto* bpe = std::get_if<BpeData>(&parts.model);
  const bool byte_level = bpe != nullptr && bpe->byte_level;
  std::unordered_map<std::string_view, int32_t> added;
  for (const AddedToken& token : parts.added) {
    if (!added.emplace(token.content, -1).second) {
      fail(ErrorKind::input, "the added token {} is given twice", show_text(token.content));
    }
  }
  for_each_token(parts, [&](const std::string& token, int32_t id) {
    set(id, token, byte_level ? bytes_of_symbols(token).value_or(token) : token);
    auto found = added.find(token);
    if (found != added.end()) found->second = id;
  });
  if (texts_.empty()) fail(ErrorKind::input, "the tokenizer's vocabulary is empty");
  for (const AddedToken& token : parts.added) {
    add(token, added.at(token.content));
    // A normalised token stands for what it is found as, say with the sign for a space in front.
    if (!token.normalized) continue;
    const TracedText found_as = parts.normalizer.apply(token.content);
    if (found_as.changed) texts_[static_cast<size_t>(token.id)] = found_as.text;
  }
}

void Vocabulary::set(int32_t id, std::string_view token, std::string text) {
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

void Vocabulary::add(const AddedToken& token, int32_t id_in_model) {
  if (token.content.empty()) {
    fail(ErrorKind::input, "the added token with id {} is empty; give it a text", token.id);
  }
  check_utf8(token.content, fmt::format("the added token with id {}", token.id));
  if (id_in_model < 0) return set(token.id, token.content, token.content);
  if (id_in_model != token.id) {
    fail(ErrorKind::input, "the added token {} has id {}, but id {} in the vocabulary",
         show_text(token.content), token.id, id_in_model);
  }
  texts_[static_cast<size_t>(token.id)] = token.content;
}

const std::string& Vocabulary::text(int32_t id, std::string_view role) const {
  if (!has(id)) {
    fail(ErrorKind::input, "{} {} is not in the vocabulary of {} tokens", role, id, size());
  }
  return *texts_[static_cast<size_t>(id)];
}

std::string kind_of(const TokenizerParts& parts) {
  const auto* bpe = std::get_if<BpeData>(&parts.model);
  const auto* unigram = std::get_if<UnigramData>(&parts.model);
  std::string kind = bpe == nullptr    ? "Unigram"
                     : bpe->byte_level ? "byte-level BPE"
                                       : "BPE over characters";
  if (bpe != nullptr ? bpe->byte_fallback : unigram->byte_fallback)
    kind += ", bytes for characters without a token";
  return kind;
}

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts);

  [[nodiscard]] std::string kind() const override { return kind_; }
  [[nodiscard]] Encoding encode(std::string_view text) const override;
  [[nodiscard]] std::vector<int32_t> prefix() const override { return prefix_; }
  [[nodiscard]] std::string decode(const std::vector<int32_t>& ids) const override;
  [[nodiscard]] int32_t vocab_size() const override { return vocabulary_.size(); }
  [[nodiscard]] int32_t bos_token() const override { return bos_; }
  [[nodiscard]] const std::vector<int32_t>& special_tokens() const override { return special_; }

 private:
  void encode_section(std::string_view text, int32_t offset, Encoding& out) const;
  void encode_pieces(std::string_view text, int32_t at_start, Encoding& out) const;

  std::string kind_;
  Vocabulary vocabulary_;
  AddedTokenFinder raw_;
  AddedTokenFinder normalized_;
  Normalizer normalizer_;
  Pretokenizer pretokenizer_;
  std::unique_ptr<TokenModel> model_;
  TokenDecoder decoder_;
  std::vector<int32_t> prefix_;
  int32_t bos_;
  std::vector<int32_t> special_;
};

AddedTokenFinder finder(const TokenizerParts& parts, bool normalized) {
  std::vector<AddedToken> tokens;
  for (const AddedToken& token : parts.added) {
    if (token.normalized != normalized) continue;
    tokens.push_back(token);
    if (!normalized) continue;
    const TracedText changed = parts.normalizer.apply(token.content);
    if (!changed.changed) continue;
    tokens.back().content = changed.text;
    if (changed.text.empty()) {
      fail(ErrorKind::input, "nothing is left of the added token {} after normalising it",
           show_text(token.content));
    }
  }
  return AddedTokenFinder(std::move(tokens));
}

std::unique_ptr<TokenModel> make_model(std::variant<BpeData, UnigramData> data) {
  if (auto* bpe = std::get_if<BpeData>(&data)) {
    return std::make_unique<BytePairEncoder>(std::move(*bpe));
  }
  return std::make_unique<UnigramEncoder>(std::move(std::get<UnigramData>(data)));
}

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts)
    : kind_(kind_of(parts)),
      vocabulary_(parts),
      raw_(finder(parts, false)),
      normalized_(finder(parts, true)),
      normalizer_(std::move(parts.normalizer)),
      pretokenizer_(std::move(parts.pretokenizer)),
      model_(make_model(std::move(parts.model))),
      decoder_(std::move(parts.decoder)),
      prefix_(std::move(parts.prefix)),
      bos_(parts.bos),
      special_(std::move(parts.special)) {
  if (bos_ != -1) (void)vocabulary_.text(bos_, "the beginning-of-sequence token");
  for (const int32_t id : prefix_) (void)vocabulary_.text(id, "the prefix token");
  for (const int32_t id : special_) (void)vocabulary_.text(id, "the special token");
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    if (!vocabulary_.has(id)) special_.push_back(id);
  }
  std::sort(special_.begin(), special_.end());
  special_.erase(std::unique(special_.begin(), special_.end()), special_.end());
}

Encoding PipelineTokenizer::encode(std::string_view text) const {
  // Spans hold 32 bits; normalising and signs for spaces can make a text 72 times as long.
  constexpr size_t kLongest = size_t{1} << 24;
  if (text.size() > kLongest) {
    fail(ErrorKind::input, "a text of {} bytes is too long to tokenise; split it", text.size());
  }
  check_utf8(text, "the text");
  Encoding out;
  for (const Section& section : raw_.split(text)) {
    if (section.id >= 0) {
      out.ids.push_back(section.id);
      out.bytes.push_back(section.bytes);
    } else {
      encode_section(part_of(text, section.bytes), section.bytes.begin, out);
    }
  }
  return out;
}

/// Makes the spans from `first` on, which are of a part that starts at `offset` of a text after a
/// change, spans of what was before it.
void move_spans(const TracedText& change, int32_t offset, size_t first, Encoding& out) {
  for (size_t i = first; i < out.bytes.size(); ++i) {
    Span& span = out.bytes[i];
    span = change.source({span.begin + offset, span.end + offset});
  }
}

/// How many bytes come from the very start of what was there before a change.
int32_t bytes_of_start(const TracedText& change) {
  int32_t count = change.changed ? 0 : 1;
  while (count < static_cast<int32_t>(change.begin.size()) &&
         change.begin[static_cast<size_t>(count)] == 0) {
    ++count;
  }
  return count;
}

/// Appends the tokens of a text between added tokens; it starts at `offset` of the whole text.
void PipelineTokenizer::encode_section(std::string_view text, int32_t offset, Encoding& out) const {
  const TracedText normal = normalizer_.apply(text);
  const std::string_view view = normal.view(text);
  const size_t section_first = out.bytes.size();
  const int32_t start = offset == 0 ? bytes_of_start(normal) : 0;
  for (const Section& section : normalized_.split(view)) {
    if (section.id >= 0) {
      out.ids.push_back(section.id);
      out.bytes.push_back(section.bytes);
      continue;
    }
    const size_t first = out.bytes.size();
    encode_pieces(part_of(view, section.bytes), std::max(0, start - section.bytes.begin), out);
    move_spans({}, section.bytes.begin, first, out);
  }
  move_spans(normal, 0, section_first, out);
  move_spans({}, offset, section_first, out);
}

/// Appends the tokens of a normalised text without added tokens.
void PipelineTokenizer::encode_pieces(std::string_view text, int32_t at_start,
                                      Encoding& out) const {
  const Pieces pieces = pretokenizer_.split(text, at_start);
  const std::string_view view = pieces.text.view(text);
  for (const Span& piece : pieces.spans) {
    const size_t first = out.bytes.size();
    model_->encode(part_of(view, piece), out);
    move_spans(pieces.text, piece.begin, first, out);
  }
}

std::string PipelineTokenizer::decode(const std::vector<int32_t>& ids) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) tokens.push_back(vocabulary_.text(id, "token id"));
  return decoder_.decode(std::move(tokens));
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerParts parts) {
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

int32_t find_token(const TokenizerParts& parts, std::string_view token) {
  for (const AddedToken& added : parts.added) {
    if (added.content == token) return added.id;
  }
  if (const auto* bpe = std::get_if<BpeData>(&parts.model)) return find_token(bpe->ids, token);
  const auto& pieces = std::get<UnigramData>(parts.model).pieces;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].first == token) return static_cast<int32_t>(id);
  }
  return -1;
}

}  // namespace mechsweep
