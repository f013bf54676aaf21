#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "model/traced_text.h"

namespace mechsweep {

struct Encoding {
  std::vector<int32_t> ids;
  /// For every id, the bytes of the text it came from; empty for a space that the tokenizer itself
  /// put before a word. Where normalisation joined characters, all of them.
  std::vector<Span> bytes;
};

/// Text to token ids and back.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// What cuts text into tokens, for people: "byte-level BPE".
  [[nodiscard]] virtual std::string kind() const = 0;
  /// Tokenises UTF-8 text without adding any special token; special tokens that are written out in
  /// the text become their ids. Throws Error{input} on invalid UTF-8 and on a byte that the
  /// vocabulary has no token for.
  [[nodiscard]] virtual Encoding encode(std::string_view text) const = 0;
  /// The ids that the tokenizer itself puts before a text (for example BOS), often none.
  [[nodiscard]] virtual std::vector<int32_t> prefix() const = 0;
  /// The text of ids; byte pieces that are not valid UTF-8 are kept as they are.
  [[nodiscard]] virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  [[nodiscard]] virtual int32_t vocab_size() const = 0;
  /// The id of the beginning-of-sequence token, or -1.
  [[nodiscard]] virtual int32_t bos_token() const = 0;
  /// Sorted ids of special, control and unused tokens and of ids without a token, which random
  /// prompts never draw.
  [[nodiscard]] virtual const std::vector<int32_t>& special_tokens() const = 0;
};

/// The tokens that overlap a byte range of the text; throws Error{input} when there are none.
Span tokens_of_bytes(const Encoding& encoding, Span bytes);

/// A tokenizer from a parsed tokenizer.json (and tokenizer_config.json, may be null): BPE over
/// bytes or over characters, or Unigram. Throws Error{input} naming whatever in the file is damaged
/// or of a type that is not supported; nothing is passed over.
std::unique_ptr<Tokenizer> tokenizer_from_json(const Json& tokenizer, const Json& tokenizer_config);
/// A tokenizer from GGUF metadata (`tokenizer.ggml.*`): the models `gpt2` (byte-level BPE) and
/// `llama` (SentencePiece's BPE). Throws Error{input} like tokenizer_from_json.
std::unique_ptr<Tokenizer> tokenizer_from_gguf(const Json& metadata);

}  // namespace mechsweep
