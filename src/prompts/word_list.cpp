#include "prompts/word_list.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/text_file.h"
#include "prompts/generator.h"

namespace mechsweep {

namespace {

constexpr const char* kWhiteSpace = " \t\r\v\f";
/// How many lost words a refusal names for a model.
constexpr size_t kExamples = 3;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kWhiteSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kWhiteSpace) + 1 - begin);
}

std::string shown(const std::string& word) {
  constexpr size_t kLongest = 40;
  return "'" + fit_for_message(word, kLongest) + "'";
}

/// The words of one model: tokens, -1 where a word has none of its own.
struct ModelWords {
  std::vector<int32_t> tokens;
  int64_t lost = 0;
  std::vector<std::string> examples;  ///< of what is lost, with the reason
};

/// Why the ids of a word are no token of its own; empty when they are.
std::string reason_against(const std::vector<int32_t>& ids, const Tokenizer& tokenizer,
                           const Prefix& prefix) {
  if (ids.size() != 1) return fmt::format("{} tokens", ids.size());
  const std::vector<int32_t>& special = tokenizer.special_tokens();
  if (ids[0] == tokenizer.bos_token() || std::binary_search(special.begin(), special.end(), ids[0]))
    return "a special token";
  if (prefix.kind == Prefix::Kind::token && ids[0] == prefix.token) return "the prefix";
  return "";
}

std::vector<int32_t> ids_of_word(const Tokenizer& tokenizer, const std::string& word) {
  try {
    return encode_inside(tokenizer, " " + word).ids;
  } catch (const Error&) {
    return {};  // the vocabulary has no token for one of its bytes
  }
}

ModelWords words_of_model(const WordList& list, const Tokenizer& tokenizer, const Prefix& prefix) {
  ModelWords result;
  std::unordered_map<int32_t, std::string> taken;
  for (const std::string& word : list.words) {
    const std::vector<int32_t> ids = ids_of_word(tokenizer, word);
    std::string reason = reason_against(ids, tokenizer, prefix);
    if (reason.empty()) {
      const auto [earlier, is_new] = taken.emplace(ids[0], word);
      if (!is_new) reason = "the token of " + shown(earlier->second);
    }
    result.tokens.push_back(reason.empty() ? ids[0] : -1);
    if (reason.empty()) continue;
    ++result.lost;
    if (result.examples.size() < kExamples)
      result.examples.push_back(fmt::format("{} ({})", shown(word), reason));
  }
  return result;
}

}  // namespace

WordList read_word_list(const std::string& path) {
  const std::string content = read_text_file(path, ErrorKind::input);
  const size_t invalid = find_invalid_utf8(content);
  if (invalid != std::string::npos)
    fail(ErrorKind::input, "{}: is not UTF-8 at byte {}; save it as UTF-8", path, invalid);
  WordList list{path, {}};
  std::unordered_map<std::string, int> line_of_word;
  for (const NumberedLine& line : filled_lines(content)) {
    const std::string word(trimmed(line.text));
    if (word.empty() || word.front() == '#') continue;
    if (word.find_first_of(kWhiteSpace) != std::string::npos)
      fail(ErrorKind::input, "{}:{}: {} is more than one word; give one word a line", path,
           line.number, shown(word));
    const auto [earlier, is_new] = line_of_word.emplace(word, line.number);
    if (!is_new)
      fail(ErrorKind::input, "{}:{}: the word {} is in line {} already", path, line.number,
           shown(word), earlier->second);
    list.words.push_back(word);
  }
  if (list.words.empty()) fail(ErrorKind::input, "{}: has no words", path);
  return list;
}

std::vector<int32_t> word_tokens(const std::string& set_id, const WordList& list, int64_t needed,
                                 const Prefix& prefix, const PromptContext& context,
                                 const std::string& way_out) {
  std::vector<ModelTokenizer> models = context.compared;
  models.push_back({"", context.tokenizer});  // the one that the tokens are for
  std::vector<int32_t> tokens;
  std::vector<bool> is_left(list.words.size(), true);
  std::string losses;
  for (const auto& [model, tokenizer] : models) {
    const std::string name = model.empty() ? "this model" : "model '" + model + "'";
    if (!tokenizer)
      fail(ErrorKind::usage,
           "prompts '{}': {} has no tokenizer, so words cannot be made for it; use "
           "repeated_random or a file of token ids",
           set_id, name);
    const ModelWords words = words_of_model(list, *tokenizer, prefix);
    for (size_t i = 0; i < is_left.size(); ++i) is_left[i] = is_left[i] && words.tokens[i] >= 0;
    if (words.lost > 0 && (!model.empty() || context.compared.empty()))
      losses += fmt::format("{} are not one token of their own for {}, such as {}; ", words.lost,
                            name, fmt::join(words.examples, ", "));
    tokens = words.tokens;
  }
  const auto left = std::count(is_left.begin(), is_left.end(), true);
  if (left < needed)
    fail(ErrorKind::usage,
         "prompts '{}': {} has {} words, of which {}{} are left and {} are "
         "needed; {}",
         set_id, list.path, list.words.size(), losses, left, needed, way_out);
  for (size_t i = 0; i < is_left.size(); ++i)
    if (!is_left[i]) tokens[i] = -1;
  return tokens;
}

}  // namespace mechsweep
