#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "model/tokenizer_parts.h"

namespace mechsweep {

/// Values of tokenizer.ggml.token_type (the GGUF specification).
enum GgufTokenType : int32_t {
  kGgufNormal = 1,
  kGgufUnknown,
  kGgufControl,
  kGgufUserDefined,
  kGgufUnused,
  kGgufByte
};

// Readers of the tokenizer in GGUF metadata. All throw Error{input} naming a key that is missing or
// damaged.

/// The type of every token; all normal where the file gives none.
std::vector<int32_t> read_gguf_types(const Json& metadata, size_t count);

/// Reads tokenizer.ggml.tokens into `ids`; unknown, control and user-defined ones are added tokens
/// too, and those of them that are not text go to parts.special.
void read_gguf_tokens(const Json& metadata, TokenIds& ids, TokenizerParts& parts);

/// Reads the ids of special tokens and whether a text starts with one; `add_bos` holds where the
/// file does not say.
void read_gguf_special_ids(const Json& metadata, size_t token_count, bool add_bos,
                           TokenizerParts& parts);

/// The parts of a tokenizer whose tokenizer.ggml.model is `llama`: SentencePiece's BPE, which
/// merges by the scores of tokens.
TokenizerParts read_gguf_sentencepiece(const Json& metadata);

}  // namespace mechsweep
