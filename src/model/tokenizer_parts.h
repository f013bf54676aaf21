#pragma once

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/normalizer.h"
#include "model/pretokenizer.h"
#include "model/token_decoder.h"
#include "model/tokenizer.h"
#include "model/unigram.h"

namespace mechsweep {

/// Everything a file says about a tokenizer: text is cut at added tokens, normalised (spans still
/// refer to the original), split into pieces and given to the model.
struct TokenizerParts {
  std::variant<BpeData, UnigramData> model;
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  TokenDecoder decoder;           ///< byte-level tokens come to it as the bytes they stand for
  std::vector<AddedToken> added;  ///< may also be in the model's vocabulary, then with the same id
  std::vector<int32_t> special;   ///< ids in any order
  std::vector<int32_t> prefix;
  int32_t bos = -1;
};

/// A tokenizer from its parts. Throws Error{input} when ids are out of range, given twice or
/// contradictory, or when the model's parts do not fit together. Ids below the largest that belong
/// to no token count as special, so that they are never drawn.
std::unique_ptr<Tokenizer> make_tokenizer(TokenizerParts parts);

/// The id of an added token or of one in the model's vocabulary, or -1.
int32_t find_token(const TokenizerParts& parts, std::string_view token);

}  // namespace mechsweep
