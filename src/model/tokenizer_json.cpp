// Reads the tokenizer.json format of Hugging Face tokenizers (its serialisation of the stages
// normalizer, pre_tokenizer, model, post_processor and of the added tokens).
#include <array>
#include <utility>

#include "core/error.h"
#include "model/byte_level_tokenizer.h"
#include "model/tokenizer_fields.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

/// Sequences may hold sequences; a file that nests deeper is damaged.
constexpr int kDeepestNesting = 16;

[[noreturn]] void unsupported(const std::string& path, const std::string& what) {
  fail(ErrorKind::input,
       "{} is {}, which is not supported: only byte-level BPE tokenizers are; give prompts as "
       "token ids",
       path, what);
}

/// Calls visit(step, type, path) for every step of a stage that may be null, one step or a
/// Sequence of steps, which are listed under `list_key`.
template <typename Visit>
void for_each_step(const Json& stage, const std::string& path, const std::string& list_key,
                   Visit visit, int depth = 0) {
  if (stage.is_null()) return;
  if (depth > kDeepestNesting) fail(ErrorKind::input, "{} is nested too deeply", path);
  const std::string& type = as_text(require_field(stage, "type", path), field_path(path, "type"));
  if (type != "Sequence") return visit(stage, type, path);
  const std::string list_path = field_path(path, list_key);
  const Json& list = as_list(require_field(stage, list_key, path), list_path);
  for (size_t i = 0; i < list.size(); ++i) {
    for_each_step(list[i], item_path(list_path, i), list_key, visit, depth + 1);
  }
}

SplitBehavior read_behavior(const Json& step, const std::string& path) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors{{
      {"Isolated", SplitBehavior::isolated},
      {"Removed", SplitBehavior::removed},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous},
  }};
  const std::string key_path = field_path(path, "behavior");
  const std::string& name = as_text(require_field(step, "behavior", path), key_path);
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  fail(ErrorKind::input, "{} is {}, which is no split behavior", key_path, show_text(name));
}

SplitRegex read_pattern(const Json& step, const std::string& path) {
  const std::string pattern_path = field_path(path, "pattern");
  const Json& pattern = require_field(step, "pattern", path);
  const Json& literal = field_or_null(pattern, "String", pattern_path);
  if (!literal.is_null()) {
    return SplitRegex::from_literal(as_text(literal, field_path(pattern_path, "String")));
  }
  return SplitRegex::from_pattern(
      as_text(require_field(pattern, "Regex", pattern_path), field_path(pattern_path, "Regex")));
}

Pretokenizer read_pretokenizer(const Json& stage) {
  Pretokenizer result;
  bool byte_level = false;
  for_each_step(
      stage, "pre_tokenizer", "pretokenizers",
      [&](const Json& step, const std::string& type, const std::string& path) {
        if (byte_level)
          unsupported(path, fmt::format("a {} step after ByteLevel", show_text(type)));
        if (type == "Split") {
          result.splits.push_back({read_pattern(step, path), read_behavior(step, path),
                                   flag_or(step, "invert", false, path)});
        } else if (type == "Digits") {
          const bool single = flag_or(step, "individual_digits", false, path);
          result.splits.push_back({SplitRegex::from_pattern("\\p{N}"),
                                   single ? SplitBehavior::isolated : SplitBehavior::contiguous});
        } else if (type == "Punctuation") {
          result.splits.push_back(
              {SplitRegex::from_pattern(R"([!-/:-@\[-`{-~\p{P}])"),
               step.contains("behavior") ? read_behavior(step, path) : SplitBehavior::isolated});
        } else if (type == "ByteLevel") {
          byte_level = true;
          result.add_prefix_space = flag_or(step, "add_prefix_space", true, path);
          if (flag_or(step, "use_regex", true, path)) {
            result.byte_level_split.push_back({SplitRegex::from_pattern(kGpt2Pattern)});
          }
        } else {
          unsupported(path, show_text(type));
        }
      });
  if (!byte_level) unsupported("pre_tokenizer", "without a ByteLevel step");
  return result;
}

bool read_normalizer(const Json& stage) {
  bool nfc = false;
  for_each_step(stage, "normalizer", "normalizers",
                [&](const Json&, const std::string& type, const std::string& path) {
                  if (type != "NFC") unsupported(path, show_text(type));
                  nfc = true;
                });
  return nfc;
}

/// A merge as ["a", "b"] or, in older files, as "a b".
std::pair<std::string, std::string> read_merge(const Json& merge, const std::string& path) {
  if (merge.is_array() && merge.size() == 2) {
    return {as_text(merge[0], path), as_text(merge[1], path)};
  }
  const std::string& text = as_text(merge, path);
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    fail(ErrorKind::input, "{} is {}, but must be two tokens with a space between them", path,
         show_text(text));
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

void check_bpe_options(const Json& model) {
  const Json& type = field_or_null(model, "type", "model");
  if (!type.is_null() && as_text(type, "model.type") != "BPE") {
    unsupported("model.type", show_text(type.get_ref<const std::string&>()));
  }
  if (type.is_null()) require_field(model, "merges", "model");
  if (flag_or(model, "byte_fallback", false, "model")) unsupported("model.byte_fallback", "true");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string path = field_path("model", key);
    const Json& value = field_or_null(model, key, "model");
    if (!value.is_null() && !as_text(value, path).empty()) {
      unsupported(path, show_text(value.get_ref<const std::string&>()));
    }
  }
  const Json& dropout = field_or_null(model, "dropout", "model");
  if (!dropout.is_null() && dropout != Json(0)) unsupported("model.dropout", "not null");
}

BpeData read_bpe(const Json& model) {
  check_bpe_options(model);
  BpeData data;
  for (const auto& [token, id] :
       as_object(require_field(model, "vocab", "model"), "model.vocab").items()) {
    data.ids.emplace(token, as_token_id(id, fmt::format("model.vocab[{}]", show_text(token))));
  }
  const Json& merges = as_list(require_field(model, "merges", "model"), "model.merges");
  data.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    data.merges.push_back(read_merge(merges[i], item_path("model.merges", i)));
  }
  data.ignore_merges = flag_or(model, "ignore_merges", false, "model");
  data.fuse_unknown = flag_or(model, "fuse_unk", false, "model");
  const Json& unknown = field_or_null(model, "unk_token", "model");
  if (!unknown.is_null() && !as_text(unknown, "model.unk_token").empty()) {
    auto found = data.ids.find(unknown.get_ref<const std::string&>());
    if (found == data.ids.end()) {
      fail(ErrorKind::input, "model.unk_token {} is not in model.vocab",
           show_text(unknown.get_ref<const std::string&>()));
    }
    data.unknown_token = found->second;
  }
  return data;
}

std::vector<AddedToken> read_added_tokens(const Json& list) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  for (size_t i = 0; i < as_list(list, "added_tokens").size(); ++i) {
    const std::string path = item_path("added_tokens", i);
    AddedToken token;
    token.content = as_text(require_field(list[i], "content", path), field_path(path, "content"));
    token.id = as_token_id(require_field(list[i], "id", path), field_path(path, "id"));
    token.special = flag_or(list[i], "special", false, path);
    token.single_word = flag_or(list[i], "single_word", false, path);
    token.lstrip = flag_or(list[i], "lstrip", false, path);
    token.rstrip = flag_or(list[i], "rstrip", false, path);
    token.normalized = flag_or(list[i], "normalized", !token.special, path);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

/// Appends the ids that one item of a template stands for, say {"SpecialToken": {"id": "<s>"}}.
void add_template_ids(const Json& processor, const Json& special, const std::string& path,
                      const std::string& special_path, std::vector<int32_t>& ids) {
  const std::string& name =
      as_text(require_field(special, "id", special_path), field_path(special_path, "id"));
  const std::string tokens_path = field_path(path, "special_tokens");
  const Json& entry =
      require_field(require_field(processor, "special_tokens", path), name, tokens_path);
  const std::string ids_path = field_path(field_path(tokens_path, name), "ids");
  const Json& list = as_list(require_field(entry, "ids", field_path(tokens_path, name)), ids_path);
  for (size_t i = 0; i < list.size(); ++i) {
    ids.push_back(as_token_id(list[i], item_path(ids_path, i)));
  }
}

std::vector<int32_t> read_template(const Json& processor, const std::string& path) {
  const std::string single_path = field_path(path, "single");
  const Json& single = as_list(require_field(processor, "single", path), single_path);
  std::vector<int32_t> ids;
  bool text_seen = false;
  for (size_t i = 0; i < single.size(); ++i) {
    const std::string item = item_path(single_path, i);
    const Json& special = field_or_null(single[i], "SpecialToken", item);
    if (special.is_null()) {
      require_field(single[i], "Sequence", item);
      text_seen = true;
    } else if (text_seen) {
      unsupported(item, "a token after the text");
    } else {
      add_template_ids(processor, special, path, field_path(item, "SpecialToken"), ids);
    }
  }
  if (!text_seen) fail(ErrorKind::input, "{} has no place for the text", single_path);
  return ids;
}

std::vector<int32_t> read_prefix(const Json& stage) {
  std::vector<int32_t> prefix;
  for_each_step(stage, "post_processor", "processors",
                [&](const Json& step, const std::string& type, const std::string& path) {
                  if (type == "ByteLevel") return;  // moves offsets only
                  if (type != "TemplateProcessing") unsupported(path, show_text(type));
                  // Later templates wrap what earlier ones made.
                  const std::vector<int32_t> ids = read_template(step, path);
                  prefix.insert(prefix.begin(), ids.begin(), ids.end());
                });
  return prefix;
}

/// The token that a key of tokenizer_config.json names, as a string or as an object; empty if none.
std::string configured_token(const Json& config, const std::string& key) {
  const Json& value = field_or_null(config, key, "tokenizer_config");
  const std::string path = field_path("tokenizer_config", key);
  if (value.is_null()) return {};
  if (value.is_string()) return value.get<std::string>();
  return as_text(require_field(value, "content", path), field_path(path, "content"));
}

int32_t find_id(const ByteLevelParts& parts, const std::string& token) {
  for (const AddedToken& added : parts.added) {
    if (added.content == token) return added.id;
  }
  auto found = parts.bpe.ids.find(token);
  return found == parts.bpe.ids.end() ? -1 : found->second;
}

void apply_config(const Json& config, ByteLevelParts& parts) {
  if (config.is_null()) return;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const std::string token = configured_token(config, key);
    if (token.empty()) continue;
    const int32_t id = find_id(parts, token);
    if (id >= 0) parts.special.push_back(id);
    if (key != std::string_view("bos_token")) continue;
    if (id < 0) {
      fail(ErrorKind::input, "tokenizer_config.bos_token {} is not in the vocabulary",
           show_text(token));
    }
    parts.bos = id;
  }
  if (!flag_or(config, "add_bos_token", false, "tokenizer_config") || !parts.prefix.empty()) return;
  if (parts.bos < 0) {
    fail(ErrorKind::input, "tokenizer_config.add_bos_token is true, but bos_token names no token");
  }
  parts.prefix = {parts.bos};
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_json(const Json& tokenizer,
                                               const Json& tokenizer_config) {
  ByteLevelParts parts;
  parts.bpe = read_bpe(require_field(tokenizer, "model", ""));
  parts.nfc = read_normalizer(field_or_null(tokenizer, "normalizer", ""));
  parts.pretokenizer = read_pretokenizer(field_or_null(tokenizer, "pre_tokenizer", ""));
  parts.added = read_added_tokens(field_or_null(tokenizer, "added_tokens", ""));
  for (const AddedToken& token : parts.added) {
    if (token.special) parts.special.push_back(token.id);
  }
  parts.prefix = read_prefix(field_or_null(tokenizer, "post_processor", ""));
  apply_config(tokenizer_config, parts);
  return make_byte_level_tokenizer(std::move(parts));
}

}  // namespace mechsweep
