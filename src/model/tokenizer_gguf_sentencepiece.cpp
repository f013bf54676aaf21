// Reads SentencePiece's BPE from GGUF metadata, where tokenizer.ggml.model is `llama`.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/json_text.h"
#include "model/tokenizer_fields.h"
#include "model/tokenizer_gguf.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kSpaceSign = "\u2581";

std::vector<double> read_scores(const Json& metadata, size_t count) {
  const Json& list = as_list(require_field(metadata, kScores, ""), kScores);
  if (list.size() != count) {
    fail(ErrorKind::input, "{} has {} values, but there are {} tokens; get the file again", kScores,
         list.size(), count);
  }
  std::vector<double> scores;
  scores.reserve(count);
  for (const Json& value : list) {
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      fail(ErrorKind::input, "{} is {}, but must be a number", item_path(kScores, scores.size()),
           show_json(value));
    }
    scores.push_back(value.get<double>());
  }
  return scores;
}

/// When neighbours merge to each token: first what the user defined, in order of ids, then by
/// falling score. Bytes, control tokens and the like are never made by merging.
std::vector<int32_t> merge_ranks(const std::vector<int32_t>& types,
                                 const std::vector<double>& scores) {
  std::vector<size_t> order;
  for (size_t id = 0; id < types.size(); ++id) {
    const int32_t type = types[id];
    if (type == kGgufNormal || type == kGgufUserDefined || type == kGgufUnused) order.push_back(id);
  }
  const auto by_user_end = std::stable_partition(
      order.begin(), order.end(), [&](size_t id) { return types[id] == kGgufUserDefined; });
  std::stable_sort(by_user_end, order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::vector<int32_t> ranks(types.size(), -1);
  int32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const bool tied = i > 0 && types[order[i]] != kGgufUserDefined &&
                      types[order[i - 1]] != kGgufUserDefined &&
                      scores[order[i]] == scores[order[i - 1]];
    if (i > 0 && !tied) ++rank;
    ranks[order[i]] = rank;
  }
  return ranks;
}

/// Writers of GGUF files put runs of spaces that the user defined down as spaces; in the model they
/// are merged like words. They leave the added tokens and get the sign for a space.
void respell_spaces(TokenIds& ids, std::vector<AddedToken>& added) {
  std::erase_if(added, [&](const AddedToken& token) {
    const bool spaces = token.content.find_first_not_of(' ') == std::string::npos;
    if (token.special || token.content.empty() || !spaces) return false;
    std::string spelled;
    for (size_t i = 0; i < token.content.size(); ++i) spelled += kSpaceSign;
    if (!ids.emplace(spelled, token.id).second) return false;
    ids.erase(token.content);
    return true;
  });
}

void refuse_what_is_not_read(const Json& metadata) {
  for (const char* key : {"precompiled_charsmap", "merges"}) {
    const std::string path = fmt::format("tokenizer.ggml.{}", key);
    if (metadata.contains(path)) {
      fail(ErrorKind::input,
           "{} is there, which is not supported for the tokenizer.ggml.model llama; give prompts "
           "as token ids",
           path);
    }
  }
  if (flag_or(metadata, "tokenizer.ggml.remove_extra_whitespaces", false, "")) {
    fail(ErrorKind::input,
         "tokenizer.ggml.remove_extra_whitespaces is true, which is not supported; give prompts "
         "as token ids");
  }
}

/// A space in front of every text where the file asks for it (or says nothing), and the sign for
/// all spaces; the same back again.
void add_space_handling(const Json& metadata, TokenizerParts& parts) {
  const bool prefix = flag_or(metadata, "tokenizer.ggml.add_space_prefix", true, "");
  if (prefix) parts.normalizer.add(prepend_step(kSpaceSign));
  parts.normalizer.add(replace_step(SplitRegex::from_literal(" "), kSpaceSign));
  parts.decoder.steps = {ReplaceInToken{SplitRegex::from_literal(kSpaceSign), " "}, BytesOfTokens{},
                         FuseTokens{}};
  if (prefix) parts.decoder.steps.emplace_back(StripFromToken{" ", 1, 0});
}

}  // namespace

TokenizerParts read_gguf_sentencepiece(const Json& metadata) {
  refuse_what_is_not_read(metadata);
  TokenizerParts parts;
  BpeData bpe;
  bpe.byte_level = false;
  read_gguf_tokens(metadata, bpe.ids, parts);
  const size_t count = bpe.ids.size();
  const std::vector<int32_t> types = read_gguf_types(metadata, count);
  bpe.ranks = merge_ranks(types, read_scores(metadata, count));
  bpe.byte_fallback = std::find(types.begin(), types.end(), kGgufByte) != types.end();
  const Json& unknown = field_or_null(metadata, "tokenizer.ggml.unknown_token_id", "");
  if (!unknown.is_null()) {
    bpe.unknown_token = as_token_id(unknown, "tokenizer.ggml.unknown_token_id");
  }
  bpe.fuse_unknown = true;
  respell_spaces(bpe.ids, parts.added);
  read_gguf_special_ids(metadata, count, true, parts);
  add_space_handling(metadata, parts);
  parts.model = std::move(bpe);
  return parts;
}

}  // namespace mechsweep
