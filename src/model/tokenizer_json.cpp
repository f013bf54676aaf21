// Reads the tokenizer.json format of Hugging Face tokenizers (its serialisation of the stages
// normalizer, pre_tokenizer, model, post_processor, decoder and of the added tokens). What it says
// about truncation and padding does not matter here: prompts are neither cut nor filled up.
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "model/tokenizer_fields.h"
#include "model/tokenizer_parts.h"
#include "model/tokenizer_steps.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

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
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string path = field_path("model", key);
    const Json& value = field_or_null(model, key, "model");
    if (!value.is_null() && !as_text(value, path).empty()) {
      refuse_unsupported(path, show_text(value.get_ref<const std::string&>()));
    }
  }
  const Json& dropout = field_or_null(model, "dropout", "model");
  if (!dropout.is_null() && dropout != Json(0)) refuse_unsupported("model.dropout", "not null");
}

BpeData read_bpe(const Json& model, bool byte_level) {
  check_bpe_options(model);
  BpeData data;
  data.byte_level = byte_level;
  const Json& vocabulary = as_object(require_field(model, "vocab", "model"), "model.vocab");
  data.ids.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    constexpr uint64_t kLargest = std::numeric_limits<int32_t>::max();
    const bool good = id.is_number_unsigned() && id.get<uint64_t>() <= kLargest;
    data.ids.emplace(token,
                     good ? id.get<int32_t>()
                          : as_token_id(id, fmt::format("model.vocab[{}]", show_text(token))));
  }
  const Json& merges = as_list(require_field(model, "merges", "model"), "model.merges");
  data.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    data.merges.push_back(read_merge(merges[i], item_path("model.merges", i)));
  }
  data.ignore_merges = flag_or(model, "ignore_merges", false, "model");
  data.byte_fallback = flag_or(model, "byte_fallback", false, "model");
  if (data.byte_fallback && byte_level) {
    refuse_unsupported("model.byte_fallback", "true for a ByteLevel pre_tokenizer");
  }
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

UnigramData read_unigram(const Json& model) {
  UnigramData data;
  const Json& vocabulary = as_list(require_field(model, "vocab", "model"), "model.vocab");
  data.pieces.reserve(vocabulary.size());
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const Json& entry = vocabulary[i];
    const bool pair = entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
                      entry[1].is_number() && std::isfinite(entry[1].get<double>());
    if (!pair) {
      fail(ErrorKind::input, "{} must be a token and its score", item_path("model.vocab", i));
    }
    data.pieces.emplace_back(entry[0].get<std::string>(), entry[1].get<double>());
  }
  const Json& unknown = field_or_null(model, "unk_id", "model");
  if (!unknown.is_null()) data.unknown_token = as_token_id(unknown, "model.unk_id");
  data.byte_fallback = flag_or(model, "byte_fallback", false, "model");
  return data;
}

std::variant<BpeData, UnigramData> read_model(const Json& model, bool byte_level) {
  const Json& type = field_or_null(model, "type", "model");
  const std::string name = type.is_null() ? "BPE" : as_text(type, "model.type");
  if (name == "BPE") return read_bpe(model, byte_level);
  if (name != "Unigram") refuse_unsupported("model.type", show_text(name));
  if (byte_level) refuse_unsupported("model.type", "Unigram after a ByteLevel pre_tokenizer");
  return read_unigram(model);
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
      refuse_unsupported(item, "a token after the text");
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
                  if (type != "TemplateProcessing") refuse_unsupported(path, show_text(type));
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

void apply_config(const Json& config, TokenizerParts& parts) {
  if (config.is_null()) return;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const std::string token = configured_token(config, key);
    if (token.empty()) continue;
    const int32_t id = find_token(parts, token);
    if (id >= 0) parts.special.push_back(id);
    if (key != std::string_view("bos_token")) continue;
    if (id < 0) {
      fail(ErrorKind::input, "tokenizer_config.bos_token {} is not in the vocabulary",
           show_text(token));
    }
    parts.bos = id;
  }
  if (flag_or(config, "add_eos_token", false, "tokenizer_config")) {
    refuse_unsupported("tokenizer_config.add_eos_token", "true");
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
  TokenizerParts parts;
  PretokenizerStage stage = read_pretokenizer(field_or_null(tokenizer, "pre_tokenizer", ""));
  parts.pretokenizer = std::move(stage.pretokenizer);
  parts.model = read_model(require_field(tokenizer, "model", ""), stage.byte_level);
  parts.normalizer = read_normalizer(field_or_null(tokenizer, "normalizer", ""));
  parts.decoder = read_decoder(field_or_null(tokenizer, "decoder", ""), stage.byte_level);
  parts.added = read_added_tokens(field_or_null(tokenizer, "added_tokens", ""));
  for (const AddedToken& token : parts.added) {
    if (token.special) parts.special.push_back(token.id);
  }
  parts.prefix = read_prefix(field_or_null(tokenizer, "post_processor", ""));
  apply_config(tokenizer_config, parts);
  return make_tokenizer(std::move(parts));
}

}  // namespace mechsweep
