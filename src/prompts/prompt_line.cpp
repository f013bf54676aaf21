#include "prompts/prompt_line.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/json_text.h"
#include "core/text_file.h"

namespace mechsweep {

namespace {

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorKind::input, format, std::forward<Args>(args)...);
}

/// Text that the file chose, for a message.
std::string shown(const std::string& text) {
  constexpr size_t kLongest = 100;
  return fit_for_message(text, kLongest);
}

void check_known_fields(const Json& object, const std::string& where,
                        const std::vector<std::string>& known) {
  for (const auto& item : object.items()) {
    if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
    const std::string nearest = nearest_name(item.key(), known);
    refuse("{}{}: unknown field{} (known: {})", where, shown(item.key()),
           nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest),
           fmt::join(known, ", "));
  }
}

int32_t read_integer(const Json& value, const std::string& field) {
  // A 64-bit unsigned number beyond int64_t would wrap around in get<int64_t>.
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() &&
                      value.get<uint64_t>() > std::numeric_limits<int32_t>::max()) &&
                    value.get<int64_t>() >= std::numeric_limits<int32_t>::min();
  if (!fits) refuse("{}: must be a whole number of 32 bits, not {}", field, value.type_name());
  return value.get<int32_t>();
}

std::string read_text(const Json& value, const std::string& field) {
  if (!value.is_string()) refuse("{}: must be text, not {}", field, value.type_name());
  std::string text = value.get<std::string>();
  if (text.empty()) refuse("{}: is empty; leave it out or fill it in", field);
  return text;
}

/// An id stands in messages and in result files, whose texts end at a byte 0.
std::string read_id(const Json& value) {
  constexpr size_t kLongest = 1000;
  std::string id = read_text(value, "id");
  if (fit_for_message(id, kLongest) != id)
    refuse("id: must be a text of at most {} bytes without control characters", kLongest);
  return id;
}

const Json& read_list(const Json& value, const std::string& field) {
  if (!value.is_array()) refuse("{}: must be a list, not {}", field, value.type_name());
  if (value.empty()) refuse("{}: is empty; leave it out or fill it in", field);
  return value;
}

const Json& read_object(const Json& value, const std::string& field) {
  if (!value.is_object()) refuse("{}: must be an object, not {}", field, value.type_name());
  return value;
}

std::vector<int32_t> read_ids(const Json& value, const std::string& field) {
  std::vector<int32_t> ids;
  for (const Json& id : read_list(value, field))
    ids.push_back(read_integer(id, fmt::format("{}[{}]", field, ids.size())));
  return ids;
}

std::array<int32_t, 2> read_two(const Json& value, const std::string& field) {
  if (!value.is_array() || value.size() != 2) refuse("{}: must be a list of two numbers", field);
  return {read_integer(value[0], field), read_integer(value[1], field)};
}

/// Reads one prompt; a member function for every group of fields.
class LineReader {
 public:
  LineReader(const Json& line, const PromptLineOptions& options) : line_(line), options_(options) {}

  Prompt read() {
    check_known_fields(
        line_, "",
        {"tokens", "text", "corrupt_tokens", "corrupt_text", "answer", "wrong", "targets",
         "corrupt_targets", "spans", "span_text", "pairs", "template", "id", "prefix_length"});
    prompt_.id = has("id") ? read_id(line_["id"]) : options_.default_id;
    if (has("template")) prompt_.template_label = read_text(line_["template"], "template");
    if (has("text")) prompt_.text = read_text(line_["text"], "text");
    if (has("corrupt_text"))
      prompt_.corrupt_text = read_text(line_["corrupt_text"], "corrupt_text");
    if (has("tokens")) {
      from_ids();
    } else if (has("text")) {
      from_text();
    } else {
      refuse("tokens: a prompt needs tokens or text");
    }
    check_equal_length();
    read_targets();
    read_spans();
    read_span_texts();
    read_pairs();
    return std::move(prompt_);
  }

 private:
  [[nodiscard]] bool has(const char* field) const { return line_.contains(field); }
  [[nodiscard]] int32_t length() const { return static_cast<int32_t>(prompt_.tokens.size()); }

  void from_ids() {
    if (options_.prefix)
      fail(ErrorKind::usage,
           "tokens: ids are used as they are, so the config's `prefix` cannot be put before them; "
           "remove it, or give text");
    prompt_.tokens = read_ids(line_["tokens"], "tokens");
    if (has("corrupt_tokens")) {
      prompt_.corrupt_tokens = read_ids(line_["corrupt_tokens"], "corrupt_tokens");
    } else if (has("corrupt_text")) {
      refuse("corrupt_text: goes with text; a prompt given as tokens needs corrupt_tokens");
    }
    if (!has("prefix_length")) return;
    prompt_.prefix_length = read_integer(line_["prefix_length"], "prefix_length");
    if (prompt_.prefix_length < 0 || prompt_.prefix_length > length())
      refuse("prefix_length: {} is not a number of leading tokens of a prompt of {}",
             prompt_.prefix_length, length());
  }

  void from_text() {
    if (has("corrupt_tokens"))
      refuse("corrupt_tokens: goes with tokens; a prompt given as text needs corrupt_text");
    if (has("prefix_length"))
      refuse("prefix_length: goes with tokens; the prefix of a text is counted as it is added");
    const std::vector<int32_t> prefix =
        options_.prefix ? *options_.prefix : tokenizer("text").prefix();
    prompt_.prefix_length = static_cast<int32_t>(prefix.size());
    encoding_ = encode("text", prompt_.text);
    prompt_.tokens = prefix;
    prompt_.tokens.insert(prompt_.tokens.end(), encoding_.ids.begin(), encoding_.ids.end());
    if (prompt_.corrupt_text.empty()) return;
    const Encoding corrupt = encode("corrupt_text", prompt_.corrupt_text);
    prompt_.corrupt_tokens = prefix;
    prompt_.corrupt_tokens.insert(prompt_.corrupt_tokens.end(), corrupt.ids.begin(),
                                  corrupt.ids.end());
  }

  [[nodiscard]] const Tokenizer& tokenizer(const std::string& field) const {
    if (!options_.tokenizer)
      refuse("{}: the model has no tokenizer, so text cannot be used; give token ids", field);
    return *options_.tokenizer;
  }

  [[nodiscard]] Encoding encode(const std::string& field, const std::string& text) const {
    const Tokenizer& own = tokenizer(field);
    try {
      Encoding encoding = own.encode(text);
      if (encoding.ids.empty()) refuse("the tokenizer makes no token of '{}'", shown(text));
      return encoding;
    } catch (const Error& error) {
      throw error.within(field);
    }
  }

  void check_equal_length() const {
    if (prompt_.corrupt_tokens.empty() || prompt_.corrupt_tokens.size() == prompt_.tokens.size())
      return;
    if (options_.align != "none")
      fail(ErrorKind::usage,
           "align: {} is not supported yet, and the corrupt prompt has {} tokens but the clean one "
           "{}; make them equally long",
           options_.align, prompt_.corrupt_tokens.size(), length());
    refuse(
        "corrupt_{}: the corrupt prompt has {} tokens and the clean one {}; make them equally "
        "long",
        has("tokens") ? "tokens" : "text", prompt_.corrupt_tokens.size(), length());
  }

  void read_targets() {
    if (has("answer")) {
      if (has("targets"))
        refuse("answer: is shorthand for one target at the last position; give it or targets");
      prompt_.targets = {read_target(line_, "", length() - 1)};
    } else if (has("wrong")) {
      refuse("wrong: needs an answer beside it");
    } else if (has("targets")) {
      prompt_.targets = read_target_list("targets");
    }
    if (!has("corrupt_targets")) return;
    if (prompt_.corrupt_tokens.empty())
      refuse("corrupt_targets: needs corrupt_tokens or corrupt_text beside it");
    prompt_.corrupt_targets = read_target_list("corrupt_targets");
  }

  [[nodiscard]] std::vector<Target> read_target_list(const std::string& field) const {
    std::vector<Target> targets;
    for (const Json& entry : read_list(line_[field], field)) {
      const std::string where = fmt::format("{}[{}]", field, targets.size());
      read_object(entry, where);
      check_known_fields(entry, where + ".", {"at", "answer", "wrong"});
      for (const char* needed : {"at", "answer"})
        if (!entry.contains(needed)) refuse("{}.{}: is missing", where, needed);
      targets.push_back(read_target(entry, where + ".", position(entry["at"], where + ".at")));
    }
    std::stable_sort(targets.begin(), targets.end(),
                     [](const Target& x, const Target& y) { return x.at < y.at; });
    return targets;
  }

  /// `answer` and `wrong` of an object; `where` ends in a dot or is empty.
  [[nodiscard]] Target read_target(const Json& entry, const std::string& where, int32_t at) const {
    Target target{at, tracked(entry["answer"], where + "answer"), {}};
    if (!entry.contains("wrong")) return target;
    if (entry["wrong"].is_array() && entry["wrong"].empty()) return target;  // says: no margin
    std::set<int32_t> seen{target.answer};
    for (const Json& wrong : read_list(entry["wrong"], where + "wrong")) {
      const std::string field = fmt::format("{}wrong[{}]", where, target.wrong.size());
      const int32_t token = tracked(wrong, field);
      if (!seen.insert(token).second)
        refuse("{}: its first token {} is that of another tracked answer of this target", field,
               token);
      target.wrong.push_back(token);
    }
    return target;
  }

  /// A tracked token: an id, or a text as typed of which the first token counts.
  [[nodiscard]] int32_t tracked(const Json& value, const std::string& field) const {
    if (!value.is_string()) {
      if (!value.is_number()) refuse("{}: must be text or a token id", field);
      return read_integer(value, field);
    }
    return encode(field, read_text(value, field)).ids.front();
  }

  /// A position in the prompt; a negative one counts from its end.
  [[nodiscard]] int32_t position(const Json& value, const std::string& field) const {
    const int32_t given = read_integer(value, field);
    const int32_t at = given < 0 ? given + length() : given;
    if (at < 0 || at >= length())
      refuse("{}: position {} is outside the prompt of {} tokens", field, given, length());
    return at;
  }

  void add_span(const std::string& name, const std::string& field, Span span) {
    if (name.empty() || name == "all" || name == "targets" || name == "each")
      refuse("{}: '{}' cannot be the name of a span, since `positions` gives it a meaning", field,
             shown(name));
    if (!prompt_.spans.emplace(name, span).second)
      refuse("{}: the span '{}' is given in spans already", field, shown(name));
  }

  void read_spans() {
    if (!has("spans")) return;
    for (const auto& item : read_object(line_["spans"], "spans").items()) {
      const std::string field = "spans." + shown(item.key());
      const auto [begin, end] = read_two(item.value(), field);
      if (begin < 0 || begin >= end || end > length())
        refuse("{}: [{}, {}] is not a range of tokens of this prompt, which has {}", field, begin,
               end, length());
      add_span(item.key(), field, {begin, end});
    }
  }

  void read_span_texts() {
    if (!has("span_text")) return;
    if (has("tokens"))
      refuse("span_text: needs a prompt given as text; give spans of token positions");
    for (const auto& item : read_object(line_["span_text"], "span_text").items()) {
      const std::string field = "span_text." + shown(item.key());
      const std::string part = read_text(item.value(), field);
      const size_t begin = prompt_.text.find(part);
      if (begin == std::string::npos) refuse("{}: '{}' does not occur in text", field, shown(part));
      if (prompt_.text.find(part, begin + 1) != std::string::npos)
        refuse("{}: '{}' occurs more than once in text; lengthen it, or give spans", field,
               shown(part));
      const Span bytes{static_cast<int32_t>(begin), static_cast<int32_t>(begin + part.size())};
      add_span(item.key(), field, tokens_of_text(field, bytes));
    }
  }

  /// The tokens of the prompt, prefix counted, that overlap bytes of its text.
  [[nodiscard]] Span tokens_of_text(const std::string& field, Span bytes) const {
    try {
      const Span own = tokens_of_bytes(encoding_, bytes);
      return {own.begin + prompt_.prefix_length, own.end + prompt_.prefix_length};
    } catch (const Error& error) {
      throw error.within(field);
    }
  }

  void read_pairs() {
    if (!has("pairs")) return;
    for (const auto& item : read_object(line_["pairs"], "pairs").items()) {
      PositionPairs& pairs = prompt_.pairs[item.key()];
      for (const Json& pair : read_list(item.value(), "pairs." + shown(item.key()))) {
        const std::string field = fmt::format("pairs.{}[{}]", shown(item.key()), pairs.size());
        read_two(pair, field);
        const int32_t query = position(pair[0], field);
        const int32_t key = position(pair[1], field);
        if (key > query) refuse("{}: the key {} is after its query {}", field, key, query);
        pairs.emplace_back(query, key);
      }
    }
  }

  const Json& line_;
  const PromptLineOptions& options_;
  Prompt prompt_;
  Encoding encoding_;  ///< of the text, without the prefix
};

}  // namespace

Json parse_prompt_json(std::string_view line) {
  Json object = parse_json(line);
  if (!object.is_object()) refuse("must be a JSON object, not {}", object.type_name());
  return object;
}

Prompt prompt_from_json(const Json& line, const PromptLineOptions& options) {
  return LineReader(line, options).read();
}

}  // namespace mechsweep
