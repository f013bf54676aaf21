#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/pretokenizer.h"
#include "model/tokenizer.h"

namespace mechsweep {

/// Everything a file says about a byte-level BPE tokenizer.
struct ByteLevelParts {
  BpeData bpe;
  Pretokenizer pretokenizer;
  bool nfc = false;  ///< text is brought to Unicode NFC first; spans still refer to the original
  std::vector<AddedToken> added;  ///< may also be in bpe.ids, then with the same id
  std::vector<int32_t> special;   ///< ids in any order
  std::vector<int32_t> prefix;
  int32_t bos = -1;
};

/// A tokenizer from its parts. Throws Error{input} when ids are out of range, given twice or
/// contradictory, or when merges do not fit the vocabulary. Ids below the largest that belong to
/// no token count as special, so that they are never drawn.
std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelParts parts);

}  // namespace mechsweep
