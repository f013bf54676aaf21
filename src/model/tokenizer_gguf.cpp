// Reads the tokenizer that a GGUF file carries under tokenizer.ggml.*.
#include "model/tokenizer_gguf.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "core/error.h"
#include "model/tokenizer_fields.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4oPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|)"
    R"(\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";

/// How the tokenizer that `tokenizer.ggml.pre` names splits text.
struct PreRule {
  std::initializer_list<std::string_view> names;
  std::initializer_list<std::string_view> patterns;  ///< each cuts the pieces of the one before
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file does not say
  bool nfc = false;
};

/// The names are those of llama.cpp's converter; the patterns, the tokenizer.json files that it
/// recognises under each name.
const std::array<PreRule, 10>& pre_rules() {
  static const std::array<PreRule, 10> rules{{
      {{"gpt-2", "phi-2", "jais"}, {kGpt2Pattern}},
      {{"mpt", "olmo"}, {kGpt2Pattern}, false, false, true},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell"}, {kDigit, kGpt2Pattern}},
      {{"llama-bpe", "llama3", "llama-v3"}, {kLlama3Pattern}, true, true},
      {{"dbrx", "smaug-bpe", "chatglm-bpe"}, {kLlama3Pattern}},
      {{"qwen2"}, {kQwen2Pattern}, false, false, true},
      {{"stablelm2", "deepseek-r1-qwen"}, {kQwen2Pattern}},
      {{"tekken"}, {kTekkenPattern}, true},
      {{"gpt-4o", "llama4"}, {kGpt4oPattern}},
      {{"default"}, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", R"([0-9][0-9][0-9])"}},
  }};
  return rules;
}

const PreRule& find_rule(const std::string& name) {
  std::string known;
  for (const PreRule& rule : pre_rules()) {
    for (std::string_view candidate : rule.names) {
      if (name == candidate) return rule;
      known += fmt::format("{}{}", known.empty() ? "" : ", ", candidate);
    }
  }
  fail(ErrorKind::input,
       "tokenizer.ggml.pre is {}, a pre-tokenizer that is not supported (these are: {}); give "
       "prompts as token ids",
       show_text(name), known);
}

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";

}  // namespace

std::vector<int32_t> read_gguf_types(const Json& metadata, size_t count) {
  const Json& list = field_or_null(metadata, kTypes, "");
  if (list.is_null()) return std::vector<int32_t>(count, kGgufNormal);
  if (as_list(list, kTypes).size() != count) {
    fail(ErrorKind::input, "{} has {} values, but {} has {}; get the file again", kTypes,
         list.size(), kTokens, count);
  }
  std::vector<int32_t> types;
  types.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const std::string path = item_path(kTypes, i);
    types.push_back(as_token_id(list[i], path));
    if (types.back() < kGgufNormal || types.back() > kGgufByte) {
      fail(ErrorKind::input, "{} is {}, which is no token type", path, types.back());
    }
  }
  return types;
}

void read_gguf_tokens(const Json& metadata, TokenIds& ids, TokenizerParts& parts) {
  const Json& tokens = as_list(require_field(metadata, kTokens, ""), kTokens);
  const std::vector<int32_t> types = read_gguf_types(metadata, tokens.size());
  ids.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string& text = as_text(tokens[i], item_path(kTokens, i));
    const auto id = static_cast<int32_t>(i);
    const auto [place, fresh] = ids.emplace(text, id);
    if (!fresh) {
      fail(ErrorKind::input, "{} has {} twice, at {} and {}; get the file again", kTokens,
           show_text(text), place->second, i);
    }
    const int32_t type = types[i];
    const bool control = type == kGgufUnknown || type == kGgufControl;
    if (control || type == kGgufUnused) parts.special.push_back(id);
    if (control || type == kGgufUserDefined) {
      AddedToken added;
      added.content = text;
      added.id = id;
      added.special = control;
      parts.added.push_back(std::move(added));
    }
  }
}

namespace {

/// Merges are "a b". Inside a token a space is written as a byte symbol, so the first one parts.
void read_merges(const Json& metadata, BpeData& data) {
  const Json& merges = as_list(require_field(metadata, kMerges, ""), kMerges);
  data.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string path = item_path(kMerges, i);
    const std::string& text = as_text(merges[i], path);
    const size_t space = text.find(' ', 1);
    if (text.empty() || space == std::string::npos || space + 1 == text.size()) {
      fail(ErrorKind::input, "{} is {}, but must be two tokens with a space between them", path,
           show_text(text));
    }
    data.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
}

}  // namespace

void read_gguf_special_ids(const Json& metadata, size_t token_count, bool add_bos,
                           TokenizerParts& parts) {
  for (const char* role : {"bos", "eos", "unknown", "padding"}) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", role);
    const Json& value = field_or_null(metadata, key, "");
    if (value.is_null()) continue;
    const int32_t id = as_token_id(value, key);
    if (static_cast<size_t>(id) >= token_count) {
      fail(ErrorKind::input, "{} is {}, but there are {} tokens", key, id, token_count);
    }
    parts.special.push_back(id);
    if (role == std::string_view("bos")) parts.bos = id;
  }
  if (flag_or(metadata, "tokenizer.ggml.add_eos_token", false, "")) {
    fail(ErrorKind::input,
         "tokenizer.ggml.add_eos_token is true: a token after every text is not supported; give "
         "prompts as token ids");
  }
  if (!flag_or(metadata, "tokenizer.ggml.add_bos_token", add_bos, "")) return;
  if (parts.bos < 0) {
    fail(ErrorKind::input,
         "tokenizer.ggml.bos_token_id is missing, but every text starts with that token");
  }
  parts.prefix = {parts.bos};
}

namespace {

TokenizerParts read_gguf_byte_level(const Json& metadata) {
  const PreRule& rule =
      find_rule(as_text(require_field(metadata, "tokenizer.ggml.pre", ""), "tokenizer.ggml.pre"));
  TokenizerParts parts;
  if (rule.nfc) parts.normalizer.add(normal_form_step(NormalForm::nfc));
  if (flag_or(metadata, "tokenizer.ggml.add_space_prefix", false, "")) {
    parts.pretokenizer.steps.emplace_back(SpaceStep{});
  }
  for (std::string_view pattern : rule.patterns) {
    parts.pretokenizer.steps.emplace_back(SplitStep{SplitRegex::from_pattern(pattern)});
  }
  BpeData bpe;
  bpe.ignore_merges = rule.ignore_merges;
  read_gguf_tokens(metadata, bpe.ids, parts);
  read_merges(metadata, bpe);
  read_gguf_special_ids(metadata, bpe.ids.size(), rule.add_bos, parts);
  parts.model = std::move(bpe);
  return parts;
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_gguf(const Json& metadata) {
  const std::string model =
      as_text(require_field(metadata, "tokenizer.ggml.model", ""), "tokenizer.ggml.model");
  if (model == "gpt2") return make_tokenizer(read_gguf_byte_level(metadata));
  if (model == "llama") return make_tokenizer(read_gguf_sentencepiece(metadata));
  fail(ErrorKind::input,
       "tokenizer.ggml.model is {}, which is not supported: only gpt2 (byte-level BPE) and llama "
       "(SentencePiece BPE) are; give prompts as token ids",
       show_text(model));
}

}  // namespace mechsweep
